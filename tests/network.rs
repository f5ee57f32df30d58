//! The network of fixed-output builds: the outside, and nothing of the host or of other builds.

use std::fs;

use crate::processes::{SOON, kill, parent, within};
use crate::scene::{Scene, is_root, say, shell_derivation};
use crate::world::{BOTH, Inside, World, can_be_made, fixed, helpers};

/// What is said, one after another, to a builder that asks there.
fn lines(answers: &[(&str, &str)]) -> String {
    answers.iter().map(|(place, answer)| format!("{place}: {answer}\n")).collect()
}

fn probe(answers: &[(&str, &str)]) -> String {
    answers.iter().fold("/probe".to_owned(), |script, (place, _)| format!("{script} {place}"))
}

#[test]
fn the_outside_is_reached_and_nothing_of_the_host() {
    let answers = [
        ("203.0.113.1 8000", "rest4"),
        ("2001:db8:1::1 8000", "rest6"),
        ("127.0.0.1 8001", "nothing"),
        ("::1 8001", "nothing"),
        ("@host 0", "nothing"),
        // The gateways, which `pasta` shows as the host's loopback unless told otherwise.
        ("198.51.100.2 8001", "nothing"),
        ("2001:db8:51::2 8001", "nothing"),
        ("fd00::2 8001", "nothing"),
        ("fe80::2%eth0 8001", "nothing"),
        // Those that answer for names.
        ("198.51.100.3 8001", "nothing"),
        ("fd00::3 8001", "nothing"),
        // The host, where nobody listens but on loopback.
        ("203.0.113.2 8001", "nothing"),
        ("2001:db8:1::2 8001", "nothing"),
    ];
    for helper in helpers() {
        assert_eq!(BOTH.fixed(&Scene::new(), helper, &probe(&answers)), lines(&answers), "{helper}");
    }
}

#[test]
fn names_are_known_wherever_the_host_asks_for_them() {
    let resolvers = ["203.0.113.1", "127.0.0.53", "::1", "2001:db8:1::1"];
    for helper in helpers() {
        for resolver in resolvers {
            let seen = World { resolver, ..BOTH }.fixed(&Scene::new(), helper, "/probe example.test 8000");
            assert!(seen.starts_with("example.test 8000: rest"), "{helper}, {resolver}: {seen}");
        }
        let four = World { ipv6: false, resolver: "127.0.0.53", ..BOTH };
        let seen = four.fixed(&Scene::new(), helper, "/probe example.test 8000");
        assert_eq!(seen, "example.test 8000: rest4\n", "{helper}");
    }
}

#[test]
fn a_host_with_ipv6_only_will_do() {
    let answers = [
        ("example.test 8000", "rest6"),
        ("2001:db8:1::1 8000", "rest6"),
        ("203.0.113.1 8000", "nothing"),
        ("::1 8001", "nothing"),
    ];
    for helper in helpers() {
        for (resolver, uplink) in
            [("2001:db8:1::1", None), ("::1", None), ("127.0.0.53", Some("2001:db8:1::1"))]
        {
            let world = World { ipv4: false, resolver, uplink, ..BOTH };
            let seen = world.fixed(&Scene::new(), helper, &probe(&answers));
            assert_eq!(seen, lines(&answers), "{helper}, {resolver}");
        }
    }
}

#[test]
fn a_proxy_of_the_caller_is_reached() {
    for helper in helpers() {
        let scene = Scene::new();
        let script = "address=${http_proxy#http://}; /probe ${address%:*} ${address#*:}";
        let json = fixed("proxied", script)
            .replace("\"env\": {}", "\"env\": { \"impureEnvVars\": \"http_proxy no_proxy\" }");
        let file = scene.write("proxied.json", json);
        let arguments = ["build", "--no-link", &file];
        let run = BOTH.run_with(&scene, helper, &arguments, &[("http_proxy", "http://203.0.113.1:8000")]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stderr.contains("203.0.113.1 8000: rest4"), "{helper}: {}", run.stderr);
    }
}

#[test]
fn a_private_network_is_the_same_on_every_host() {
    let script = "cat /etc/hosts /etc/nsswitch.conf; for f in /etc/*; do echo $f; done; \
                  while read -r name rest; do case $name in *:) echo $name;; esac; done < /proc/net/dev";
    for helper in helpers() {
        let seen = BOTH.fixed(&Scene::new(), helper, script);
        let services = if fs::exists("/etc/services").unwrap() { "/etc/services\n" } else { "" };
        let expected = format!(
            "127.0.0.1 localhost\n::1 localhost\nhosts: files dns\nservices: files\n/etc/group\n/etc/hosts\n\
             /etc/nsswitch.conf\n/etc/passwd\n/etc/resolv.conf\n{services}lo:\neth0:\n"
        );
        assert_eq!(seen, expected, "{helper}");
        let seen = World { resolver: "127.0.0.53", ..BOTH }.fixed(
            &Scene::new(),
            helper,
            "cat /etc/resolv.conf; for fd in /proc/self/fd/*; do [ ! -S $fd ] || echo socket $fd; done",
        );
        assert!(!seen.contains("127.0.0.53") && !seen.contains("socket"), "{helper}: {seen}");
    }
}

#[test]
fn other_builds_see_loopback_only() {
    let Some(helper) = helpers().first().copied() else { return };
    let answers =
        [("203.0.113.1 8000", "nothing"), ("2001:db8:1::1 8000", "nothing"), ("127.0.0.1 8001", "nothing")];
    let scene = Scene::new();
    let script = format!("{}; echo > $out", probe(&answers));
    let file = scene.write("ordinary.json", shell_derivation("ordinary", &script));
    let run = BOTH.run(&scene, helper, &["build", "--no-link", &file]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for line in lines(&answers).lines() {
        assert!(run.stderr.contains(line), "{line}: {}", run.stderr);
    }
    // So do fixed outputs, if that is wanted.
    let file = scene.write("fixed.json", fixed("fixed", &probe(&answers)));
    let run = BOTH.run(&scene, helper, &["build", "--no-link", "--option", "fod-network", "none", &file]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for line in lines(&answers).lines() {
        assert!(run.stderr.contains(line), "{line}: {}", run.stderr);
    }
}

#[test]
fn builds_do_not_reach_each_other() {
    for helper in helpers() {
        let scene = Scene::new();
        // Both are there while each looks for the other, at each address that may be its own or its host's.
        let script = |own: u32, others: u32| {
            format!(
                "/server say 0.0.0.0 {own} build; /server say :: {own} build; /server say @build{own} 0 build; \
                 /probe 203.0.113.1 7000 127.0.0.1 {own} ::1 {own} @build{own} 0; \
                 /probe 127.0.0.1 {others} ::1 {others} 198.51.100.100 {others} 2001:db8:51::64 {others} \
                 203.0.113.2 {others} 2001:db8:1::2 {others} 198.51.100.2 {others} @build{others} 0; \
                 /probe 203.0.113.1 7000"
            )
        };
        let first = scene.write("first.json", fixed("first", &script(9001, 9002)));
        let second = scene.write("second.json", fixed("second", &script(9002, 9001)));
        let run = BOTH.run(&scene, helper, &["build", "--no-link", "--max-jobs", "2", &first, &second]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        for (name, own, others) in [("first", 9001, 9002), ("second", 9002, 9001)] {
            let said: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with(name)).collect();
            let is = |text: String| said.iter().filter(|line| line.ends_with(&text)).count();
            assert_eq!(is(" 7000: met".to_owned()), 2, "{helper}: {}", run.stderr);
            assert_eq!(
                is(format!(" {own}: build")) + is(format!("@build{own} 0: build")),
                3,
                "{}",
                run.stderr
            );
            assert_eq!(is(format!(" {others}: nothing")), 7, "{helper}: {}", run.stderr);
            assert_eq!(is(format!("@build{others} 0: nothing")), 1, "{helper}: {}", run.stderr);
        }
    }
}

/// Starts a build that does not end, and waits until it runs.
fn endless(scene: &Scene, helper: &str, word: &str) -> Inside {
    let file = scene.write("endless.json", fixed("endless", &format!(": {word}; while :; do :; done")));
    let inside = BOTH.start(scene, helper, &["build", "--no-link", &file]);
    assert!(inside.has_started(word), "{helper}: {}", inside.end());
    inside
}

#[test]
fn without_its_helper_a_build_ends() {
    for helper in helpers() {
        let scene = Scene::new();
        let inside = endless(&scene, helper, "endless-helper");
        let running = inside.helpers();
        assert_eq!(running.len(), 1, "{helper}: {running:?}");
        kill(&running);
        assert!(within(SOON, || inside.named(&["store"]).is_empty()), "{helper}");
        let said = inside.end();
        assert!(said.contains("had lost its network"), "{said}");
        assert!(said.contains(helper) && said.contains("killed by signal 9"), "{said}");
    }
}

#[test]
fn no_helper_outlives_its_build_whoever_is_killed() {
    for helper in helpers() {
        for killed in ["store", "launcher", "both", "all"] {
            let scene = Scene::new();
            let inside = endless(&scene, helper, &format!("endless-{killed}"));
            // The launcher, and what guards its builds.
            let launchers = inside.called("store-launcher");
            let store = parent(launchers[0]).unwrap();
            match killed {
                "store" => kill(&[store]),
                "launcher" => kill(&launchers[..1]),
                "both" => kill(&[store, launchers[0]]),
                _ => kill(&[&[store], &launchers[..]].concat()),
            }
            let gone = || inside.helpers().is_empty() && inside.named(&["sh"]).len() <= 1;
            assert!(within(SOON, gone), "{helper}, {killed}: {:?}", inside.helpers());
        }
    }
}

#[test]
fn a_helper_has_power_over_one_network_only() {
    for helper in helpers() {
        let scene = Scene::new();
        let inside = endless(&scene, helper, "endless-power");
        let (running, store) = (inside.helpers()[0], inside.named(&["store"])[0]);
        let namespace =
            |process: u32, kind: &str| fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap();
        assert_eq!(namespace(running, "net"), namespace(store, "net"), "{helper}");
        assert_ne!(namespace(running, "user"), namespace(store, "user"), "{helper}");
        assert_ne!(namespace(running, "mnt"), namespace(store, "mnt"), "{helper}");
        let status = fs::read_to_string(format!("/proc/{running}/status")).unwrap();
        assert!(status.contains("Seccomp:\t2"), "{helper}: {status}");
        // The network, and what it talks to the launcher through; no pipe of the log, no socket of `store`.
        let log = fs::read_link(format!("/proc/{}/fd/1", inside.builder("endless-power").unwrap())).unwrap();
        let open = fs::read_dir(format!("/proc/{running}/fd")).unwrap().flatten();
        let open: Vec<_> = open.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        assert!(!open.contains(&log), "{helper}: {open:?}");
    }
}

#[test]
fn what_connected_a_build_is_recorded() {
    for helper in helpers() {
        let scene = Scene::new();
        let file = scene.write("fixed.json", fixed("fixed", ":"));
        let run = BOTH.run(&scene, helper, &["build", "--no-link", &file]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let told = scene.ok(&["log", "--about", run.stdout.trim()]);
        let name = helper.rsplit('/').next().unwrap();
        assert!(told.contains(&format!("its own, connected to the outside by {name}\n")), "{told}");
        assert_eq!(told.contains("/etc/services"), fs::exists("/etc/services").unwrap(), "{told}");
        assert!(!told.contains("/etc/resolv.conf") && !told.contains("/etc/hosts"), "{told}");
    }
    let scene = Scene::new();
    let file = scene.write("fixed.json", fixed("fixed", ":"));
    let path = scene.ok(&["build", "--no-link", "--option", "network-helper", "/no/such/pasta", &file]);
    let told = scene.ok(&["log", "--about", &path]);
    assert!(told.contains("its own, with loopback only as there was no helper\n"), "{told}");
}

#[test]
fn chroot_mode_says_that_the_network_is_the_hosts() {
    if !is_root() {
        say("skipped: isolation by chroot needs root");
        return;
    }
    let scene = Scene::new();
    let file = scene.write("fixed.json", fixed("fixed", "[ -e /etc/nsswitch.conf ]"));
    let run = scene.run(&["build", "--no-link", "--option", "build-isolation", "chroot", &file]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("the network is the host's"), "{}", run.stderr);
}

#[test]
fn a_helper_that_cannot_start_fails_the_build_in_its_words() {
    let Some(_) = helpers().first() else { return };
    let scene = Scene::new();
    let file = scene.write("fixed.json", fixed("fixed", ":"));
    let helper = scene.program("pasta", "#!/bin/sh\necho 'it is out of order' >&2; exit 3\n");
    let run = BOTH.run(&scene, &helper, &["build", "--no-link", &file]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("`{helper}` cannot connect the build")), "{}", run.stderr);
    assert!(run.stderr.contains("it is out of order (it returned 3)"), "{}", run.stderr);
}

#[test]
fn a_network_that_is_withheld_is_named_when_the_build_fails() {
    let scene = Scene::new();
    let file = scene.write("fails.json", fixed("fails", "exit 7"));
    let absent = ["--option", "network-helper", "/no/such/pasta"];
    let said = scene.fails(1, &[&["build", "--no-link", &*file], &absent[..]].concat());
    for part in [
        "withheld (there is no",
        "`/no/such/pasta`",
        "it returned 7",
        "correct `network-helper`",
        "`passt`",
        "`slirp4netns`",
        "`fod-network = host`",
    ] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
    // A hash that is wrong keeps its exit code.
    let wrong = scene.write("wrong.json", fixed("wrong", "echo other > $out; exit 0"));
    let said = scene.fails(102, &[&["build", "--no-link", &*wrong], &absent[..]].concat());
    assert!(said.contains("withheld") && said.contains("another hash"), "{said}");
    // One that can do without is built.
    let fine = scene.write("fine.json", fixed("fine", ":"));
    scene.ok(&[&["build", "--no-link", &*fine], &absent[..]].concat());
}

#[test]
fn a_host_without_the_device_or_a_route_withholds_it() {
    if !can_be_made() {
        return;
    }
    let helper = "/bin/true";
    for (world, part) in [
        (World { tun: false, ..BOTH }, "`/dev/net/tun`"),
        (World { ipv4: false, ipv6: false, resolver: "none", ..BOTH }, "no default route"),
    ] {
        if world.tun && helpers().is_empty() {
            say("skipped: a host without a route");
            continue;
        }
        let scene = Scene::new();
        let file = scene.write("fails.json", fixed("fails", "exit 7"));
        let run = world.run(&scene, helper, &["build", "--no-link", &file]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("withheld") && run.stderr.contains(part), "{part}: {}", run.stderr);
    }
}
