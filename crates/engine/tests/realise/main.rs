//! Real builds in real sandboxes, on scratch stores.

mod builds;
mod dynamic;
mod failures;
mod impure;
mod late;
mod plans;
mod refusals;
mod stops;
mod world;

use std::process::ExitCode;

use test_support::trials;

fn main() -> ExitCode {
    test_support::main_with_launcher(
        sandbox::launcher_main,
        trials![
            builds::inputs_are_built_first,
            builds::nothing_valid_is_built_again,
            builds::slots_are_filled,
            builds::lines_are_told_whole_and_by_derivation,
            builds::two_processes_build_a_derivation_once,
            dynamic::what_a_build_makes_is_built,
            dynamic::it_is_an_input_like_any_other,
            dynamic::what_makes_may_be_made_itself,
            dynamic::what_it_takes_is_built_too,
            dynamic::what_is_no_derivation_is_refused,
            dynamic::what_others_own_is_refused,
            dynamic::a_failure_inside_blocks_its_users,
            dynamic::what_waits_for_itself_is_given_up,
            impure::it_is_made_anew_each_time_and_once,
            impure::what_is_promised_may_take_it_in,
            late::a_chain_is_built_and_known_afterwards,
            late::what_comes_out_the_same_rebuilds_nothing,
            late::the_trace_answers_without_inputs,
            late::a_fixed_output_may_take_it_in,
            late::two_that_resolve_to_one_are_built_once,
            late::a_failure_blocks_those_that_wait_to_be_resolved,
            late::what_fails_is_known_by_the_name_that_was_asked_for,
            failures::keep_going_builds_what_does_not_need_it,
            failures::without_keep_going_nothing_new_starts,
            failures::a_failure_has_the_last_lines_of_its_log,
            plans::only_what_is_wanted_counts,
            plans::a_plan_changes_nothing,
            plans::a_chain_is_planned,
            plans::a_chain_that_is_known_late_is_planned,
            plans::a_wide_closure_is_planned,
            refusals::missing_sources_are_named_at_once,
            refusals::what_is_wanted_has_to_be_there,
            refusals::impure_inputs_of_pure_derivations_are_refused,
            refusals::an_unknown_output_is_refused,
            refusals::a_path_that_is_no_derivation_is_refused,
            stops::a_word_ends_what_runs_and_starts_nothing_more,
            stops::time_goes_on_while_nothing_happens,
        ],
    )
}
