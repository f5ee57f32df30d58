//! What else is on the machine while a build runs: other builds of the same user, processes, sockets, mounts.

use std::fs;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::escapes::{ALONE, Attempts};
use crate::scene::{Run, has, is_root, text};

#[test]
fn builds_of_one_user_at_once_cannot_touch_each_other() {
    let attempts = Attempts::new();
    let (mut first, mut rest) =
        attempts.until("waits", "echo started; /probe haunt /build/file; /probe meet x 1 > $out", "started");
    assert_eq!(attempts.seen("/probe processes > $out", &[]), ALONE);
    assert!(first.try_wait().unwrap().is_none(), "the other build has ended too early");
    rest.read_to_end(&mut Vec::new()).unwrap();
    assert!(first.wait().unwrap().success());
}

/// A word that stands in everything of the host that has a name: `/proc` shows it nowhere.
#[test]
fn proc_names_nothing_of_the_host() {
    let attempts = Attempts::new();
    let (start, end) = ("store-test-", format!("stranger-{}", std::process::id()));
    let word = format!("{start}{end}");
    let abstract_name = SocketAddr::from_abstract_name(&word).unwrap();
    let _abstract = UnixListener::bind_addr(&abstract_name).unwrap();
    let _named = UnixListener::bind(attempts.scene.path(&word)).unwrap();
    let mut process = Command::new("sleep");
    let mut process = process.arg0(&word).arg("60").env("WORD", &word).stdin(Stdio::null()).spawn().unwrap();
    let seen = |directory| format!("/probe look-for {directory} {start} {end} > $out");
    let inside = attempts.seen(&seen("/proc"), &[]);
    // The program finds what is there to be found.
    let outside = Command::new(attempts.scene.path("escape"))
        .args(["look-for", "/proc/self/net", start, &end])
        .output()
        .unwrap();
    let own = Command::new(attempts.scene.path("escape"))
        .args(["look-for", &format!("/proc/{}", process.id()), start, &end])
        .output()
        .unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    for (found, file) in [(outside, "/unix"), (own, "/cmdline")] {
        let found = String::from_utf8(found.stdout).unwrap();
        assert!(found.contains(file), "the word is not even where it was put: {found}");
    }
    assert_eq!(inside, "");
}

#[test]
fn the_scratch_directories_of_the_host_are_named_nowhere_but_in_the_mount_table() {
    let attempts = Attempts::new();
    let own = text(attempts.scene.path(""));
    let (start, end) = own.trim_end_matches('/').split_at(8);
    let seen = attempts.seen(&format!("/probe look-for /proc {start} {end} > $out"), &[]);
    // Where a mount comes from is the only thing a build can tell of it.
    for line in seen.lines() {
        assert!(line.ends_with("/mountinfo"), "{seen}");
    }
}

/// What `/proc` keeps for root, and `/sys` altogether.
#[test]
fn what_belongs_to_root_in_proc_cannot_be_read() {
    let attempts = Attempts::new();
    let script = "for f in /proc/kcore /proc/kmsg /proc/timer_list /proc/sched_debug /proc/slabinfo /proc/vmallocinfo \
                  /proc/kpagecount /proc/kpageflags /proc/pagetypeinfo /proc/sysrq-trigger \
                  /proc/1/root/sys /sys; do \
                  [ -d $f ] && echo $f; (read -r line < $f) 2>/dev/null && echo $f; done > $out; \
                  while read -r line; do echo key $line; done < /proc/keys >> $out; \
                  while read -r from rest; do case $from in 00000000-*|0000000000000000) ;; *) echo $from ;; esac; \
                  done < /proc/iomem >> $out; :";
    assert_eq!(attempts.seen(script, &[]), "");
}

/// Mounts made on one side would spread to the other through a mount that is shared, as most are on a usual host.
#[test]
fn no_mount_of_a_build_belongs_to_a_group_of_the_host() {
    let attempts = Attempts::new();
    let script = "while read -r line; do case $line in *' shared:'*|*' master:'*|*' propagate_from:'*) echo $line ;; esac; \
                  done < /proc/self/mountinfo > $out";
    let file = attempts.write("mounts", script, &[]);
    let mut store = attempts.scene.command(&attempts.arguments(&file));
    if is_root() && has("unshare") {
        let mut usual = Command::new("unshare");
        usual.args(["--mount", "--propagation", "shared"]).arg(store.get_program()).args(store.get_args());
        store = usual;
        store.current_dir(attempts.scene.path("")).stdin(Stdio::null());
    }
    let run: Run = store.output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(fs::read_to_string(attempts.scene.real(run.stdout.trim_end())).unwrap(), "");
}
