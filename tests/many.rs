//! Several at once on one database: readers are not kept waiting, writers wait, and are told for whom.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::processes::{SOON, within};
use crate::scene::{Scene, has, text};

/// Somebody who has the database of a scene locked for writing.
struct Holder(Child);

impl Holder {
    fn of(scene: &Scene) -> Self {
        let database = scene.root().join("nix/var/nix/db/db.sqlite");
        let said = scene.path("held");
        let mut child = Command::new("sqlite3")
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        child.stdin.as_mut().unwrap().write_all(b"begin immediate;\nselect 'held';\n").unwrap();
        assert!(within(SOON, || fs::read(&said).unwrap() == b"held\n"));
        Self(child)
    }

    fn lets_go(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

#[test]
fn whoever_waits_for_a_writer_is_told_which() {
    if !has("sqlite3") {
        return;
    }
    let scene = Scene::new();
    let first = scene.ok(&["add", &scene.write("first", "1")]);
    let holder = Holder::of(&scene);
    assert_eq!(scene.ok(&["query", "--requisites", &first]), first);
    scene.ok(&["path-info", &first]);
    let said = scene.path("said");
    let second = scene.write("second", "2");
    let mut adding = scene
        .command(&["add", &second])
        .stdout(Stdio::piped())
        .stderr(File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let told = format!("which is locked by process {} (`sqlite3 ", holder.0.id());
    assert!(
        within(SOON, || fs::read_to_string(&said).unwrap().contains(&told)),
        "{:?}",
        fs::read_to_string(&said)
    );
    assert!(adding.try_wait().unwrap().is_none(), "it goes on waiting");
    holder.lets_go();
    assert!(adding.wait().unwrap().success());
    let said = fs::read_to_string(said).unwrap();
    assert_eq!(said.matches("waiting for").count(), 1, "{said}");
    assert!(said.contains(&text(scene.root().join("nix/var/nix/db/db.sqlite"))), "{said}");
}
