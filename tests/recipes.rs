//! Recipes: the examples of their page, what they import, and what is said when they are wrong.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use store_path::{Hash, HashAlgorithm};
use test_support::{fixture, read};

use crate::failures;
use crate::scene::{Run, Scene, has, is_root, text};
use crate::web::{Answer, Web};

/// How the page lets builds see the compiler of the machine.
const SETTING: &str = "extra-build-chroot-dirs = /usr /lib? /lib64? /etc/alternatives?";

const HASH: &str = "sha256-O0brW3Oz0m9c0JWMF6nI6NxU9+cWTaRPXMoHh50Wn6o=";

/// Copies an example of the fixtures to where the program is started, and shows builds the machine's programs.
fn example(name: &str) -> Scene {
    let scene = Scene::new();
    copy(&fixture(&format!("recipes/{name}")), &scene.path(""));
    fs::create_dir_all(scene.path("home/.config/store")).unwrap();
    fs::write(scene.path("home/.config/store/store.conf"), format!("{SETTING}\n")).unwrap();
    scene
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn output_of(program: impl AsRef<Path>) -> String {
    String::from_utf8(Command::new(program.as_ref()).output().unwrap().stdout).unwrap()
}

/// Returns the derivations that `show` prints, by their paths.
fn shown(scene: &Scene, recipe: &str) -> Value {
    serde_json::from_str(&scene.ok(&["derivation", "show", recipe])).unwrap()
}

#[test]
fn the_page_shows_the_examples_as_they_are() {
    let page = include_str!("../crates/recipe/README.md");
    for file in [
        "recipes/c-program/hello.c",
        "recipes/c-program/hello.json",
        "recipes/library/greet/greet.h",
        "recipes/library/greet/greet.c",
        "recipes/library/greet/build.sh",
        "recipes/library/greet.json",
        "recipes/library/hello.c",
        "recipes/library/hello.json",
        "recipes/download/hello.json",
    ] {
        assert!(page.contains(&*String::from_utf8_lossy(&read(file))), "the page does not show `{file}`");
    }
    assert!(page.contains(SETTING));
}

#[test]
fn a_program_in_c_is_built_with_the_compiler_of_the_machine() {
    if !has("/usr/bin/cc") {
        return;
    }
    let scene = example("c-program");
    let path = scene.ok(&["build", "hello.json"]);
    assert_eq!(output_of(scene.path("result/bin/hello")), "Hello, world.\n");
    assert_eq!(scene.ok(&["build", "hello.json"]), path);
    fs::write(scene.path("hello.c"), "int main(void) { return 0; }\n").unwrap();
    assert_ne!(scene.ok(&["build", "hello.json"]), path, "another source gives another result");
}

#[test]
fn a_library_of_two_outputs_is_built_for_its_user() {
    if !has("/usr/bin/cc") || !has("/usr/bin/ar") {
        return;
    }
    let scene = example("library");
    scene.ok(&["build", "hello.json"]);
    assert_eq!(output_of(scene.path("result")), "Hello, library.\n");
    let derivations = shown(&scene, "hello.json");
    let hello =
        derivations.as_object().unwrap().values().find(|drv| drv["outputs"]["dev"].is_null()).unwrap();
    let wanted: Vec<&Value> = hello["inputDrvs"].as_object().unwrap().values().collect();
    assert_eq!(wanted, [&serde_json::json!(["dev", "out"])], "what is named, and of that both outputs");
    scene.ok(&["build", "greet.json", "--out-link", "lib"]);
    assert!(scene.path("lib/lib/libgreet.a").exists() && scene.path("lib-dev/include/greet.h").exists());
}

/// Makes what GNU publishes, in small: a directory with a `configure` that writes a `Makefile`.
fn tarball(scene: &Scene) -> Vec<u8> {
    let source = scene.path("published/hello-2.12.1");
    fs::create_dir_all(&source).unwrap();
    let configure = "#!/bin/sh\nprefix=${1#--prefix=}\n\
        printf 'all:\\n\\techo \"echo Hello, world!\" > hello\\n\\nPREFIX = %s\\n' \"$prefix\" > Makefile\n\
        printf 'install:\\n\\tmkdir -p $(PREFIX)/bin\\n\\tinstall hello $(PREFIX)/bin\\n' >> Makefile\n";
    fs::write(source.join("configure"), configure).unwrap();
    let script = "chmod +x hello-2.12.1/configure && tar -czf ../hello.tar.gz hello-2.12.1";
    let run = Command::new("sh").args(["-c", script]).current_dir(scene.path("published")).status().unwrap();
    assert!(run.success());
    fs::read(scene.path("hello.tar.gz")).unwrap()
}

#[test]
fn a_download_tells_its_hash_and_is_held_to_it() {
    if !["/usr/bin/tar", "/usr/bin/gzip", "/usr/bin/make"].into_iter().all(has) {
        return;
    }
    let scene = example("download");
    let tarball = tarball(&scene);
    let hash = Hash::of(HashAlgorithm::Sha256, &tarball).to_sri();
    let web = Web::new(move |asked| match asked.line.as_str() {
        "GET /gnu/hello/hello-2.12.1.tar.gz" => Answer::file(&tarball),
        _ => Answer::not_found(),
    });
    let recipe = fs::read_to_string(scene.path("hello.json")).unwrap();
    let recipe = recipe.replace("https://ftp.gnu.org/", &web.url("/"));
    fs::write(scene.path("hello.json"), &recipe).unwrap();
    let build = ["build", "--option", "fod-network", "host", "hello.json"];
    let told = scene.fails(102, &build);
    let line = format!("  write into the recipe: \"hash\": \"{hash}\"\n");
    assert!(told.contains(&line), "{told}");
    assert!(!told.contains("if what it got is right"), "there was nothing to be wrong: {told}");
    fs::write(scene.path("hello.json"), recipe.replace("\"hash\": \"\"", &format!("\"hash\": \"{hash}\"")))
        .unwrap();
    scene.ok(&build);
    let program = fs::read_to_string(scene.path("result/bin/hello")).unwrap();
    assert_eq!(program, "echo Hello, world!\n");
}

/// Writes a recipe that imports a directory, and returns the files of the copy, with those of a few kinds told.
fn imported(scene: &Scene, inputs: &str) -> Vec<String> {
    let recipe = format!(
        r#"{{ "name": "x", "builder": "/bin/sh", "inputs": {{ {inputs} }}, "env": {{ "src": "${{src}}" }} }}"#
    );
    fs::write(scene.path("project/recipe.json"), recipe).unwrap();
    let drv = scene.ok(&["derivation", "add", "project/recipe.json"]);
    let shown: Value = serde_json::from_str(&scene.ok(&["derivation", "show", &drv])).unwrap();
    let named = shown_path(scene, &drv);
    assert_eq!(shown[&drv]["env"]["src"], *named, "what is only named gets the same path");
    let mut files = Vec::new();
    list(&scene.real(&named), "", &mut files);
    files
}

/// Returns the path of `src` that `show` names, without adding it.
fn shown_path(scene: &Scene, drv: &str) -> String {
    let other = Scene::new();
    let recipe = text(scene.path("project/recipe.json"));
    let shown: Value = serde_json::from_str(&other.ok(&["derivation", "show", &recipe])).unwrap();
    let path = shown[drv]["env"]["src"].as_str().unwrap().to_owned();
    assert!(!other.real(&path).exists(), "nothing was added");
    path
}

fn list(directory: &Path, prefix: &str, files: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            files.push(format!("{name}/"));
            list(&entry.path(), &format!("{name}/"), files);
        } else {
            files.push(name);
        }
    }
}

fn write(scene: &Scene, files: &[(&str, &str)]) {
    for (name, contents) in files {
        let path = scene.path("project").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
}

#[test]
fn what_rules_leave_out_stays_behind() {
    let scene = Scene::new();
    write(
        &scene,
        &[
            (".gitignore", "*.o\n/src/local\n# a comment\n"),
            ("src/.storeignore", "!keep.o\ndocs/\n*.log\n"),
            ("src/.gitignore", "keep.o\nobjects/\n"),
            ("src/main.c", ""),
            ("src/main.o", ""),
            ("src/keep.o", ""),
            ("src/local", ""),
            ("src/docs/page", ""),
            ("src/objects/x", ""),
            ("src/only-objects/deep/x.o", ""),
            ("src/sub/.gitignore", "!*.log\n!local\n"),
            ("src/sub/a.log", ""),
            ("src/sub/local", ""),
            ("src/b.log", ""),
            ("src/.git/HEAD", ""),
        ],
    );
    fs::create_dir(scene.path("project/src/empty")).unwrap();
    symlink("/nix/store/00000000000000000000000000000000-x", scene.path("project/src/result")).unwrap();
    symlink(
        "/elsewhere/nix/store/00000000000000000000000000000000-x-dev/lib",
        scene.path("project/src/result-dev"),
    )
    .unwrap();
    symlink("main.c", scene.path("project/src/result-2")).unwrap();
    let all = [
        ".gitignore",
        ".storeignore",
        "empty/",
        "keep.o",
        "main.c",
        "result-2",
        "sub/",
        "sub/.gitignore",
        "sub/a.log",
        "sub/local",
    ];
    assert_eq!(imported(&scene, r#""src": "./src""#), all);
    // The same directory is named from elsewhere, and the rules above it do not count.
    fs::create_dir(scene.path("elsewhere")).unwrap();
    fs::rename(scene.path("project/src"), scene.path("elsewhere/src")).unwrap();
    let files = imported(&scene, r#""src": "../elsewhere/src""#);
    assert!(files.contains(&"main.o".to_owned()) && !files.contains(&"b.log".to_owned()), "{files:?}");
    fs::write(scene.path("elsewhere/src/.storeignore"), "*\n!.git\n!.git/**\n").unwrap();
    assert_eq!(imported(&scene, r#""src": "../elsewhere/src""#), [".git/", ".git/HEAD"]);
}

#[test]
fn a_copy_is_called_as_the_file_or_as_its_input() {
    let scene = Scene::new();
    write(&scene, &[("recipe.json", ""), ("my file", "x"), ("data.json", "{}"), ("dir/x", "")]);
    symlink("dir", scene.path("project/link")).unwrap();
    let recipe = r#"{ "name": "x", "builder": "/bin/sh", "inputs": {
        "here": ".", "mine": { "path": "./my file", "name": "mine.txt" }, "data": { "path": "./data.json" },
        "linked": "./link" }, "args": ["${here}", "${mine}", "${data}", "${linked}"] }"#;
    fs::write(scene.path("project/recipe.json"), recipe).unwrap();
    let derivations = shown(&scene, "project/recipe.json");
    let args = derivations.as_object().unwrap().values().next().unwrap()["args"].as_array().unwrap().clone();
    let names: Vec<&str> =
        args.iter().map(|arg| &arg.as_str().unwrap()["/nix/store/".len() + 33..]).collect();
    assert_eq!(names, ["here", "mine.txt", "data.json", "link"]);
}

#[test]
fn what_cannot_be_imported_is_named() {
    let scene = Scene::new();
    write(&scene, &[("src/x", "")]);
    let recipe = scene.write(
        "recipe.json",
        r#"{ "name": "x", "builder": "/bin/sh", "inputs": { "src": "./project/src" } }"#,
    );
    let _socket = UnixListener::bind(scene.path("project/src/socket")).unwrap();
    let place = format!(
        "cannot use the recipe `{recipe}`: line 1, column 57 (`/inputs/src`): cannot import `./project/src`"
    );
    let said = scene.fails(1, &["build", &recipe]);
    let advice = "; a line in a file `.storeignore` leaves out what is not needed: ";
    let socket = text(scene.path("project/src/socket"));
    assert!(
        said.contains(&format!("{place}{advice}`{socket}` is a socket, which no archive can hold")),
        "{said}"
    );
    fs::write(scene.path("project/src/.storeignore"), "socket\n").unwrap();
    scene.ok(&["derivation", "add", &recipe]);
    if !is_root() {
        let hidden = Command::new("chmod").arg("0").arg(scene.path("project/src/x")).status().unwrap();
        assert!(hidden.success());
        let said = scene.fails(1, &["build", &recipe]);
        assert!(said.contains("Permission denied") && said.contains("/src/x`"), "{said}");
    }
    fs::write(scene.path("project/src/.storeignore"), "socket\nx[b-a]\n").unwrap();
    let said = scene.fails(1, &["build", &recipe]);
    assert!(said.contains("cannot read line 2 of the ignore rules in `"), "{said}");
    fs::remove_dir_all(scene.path("project/src")).unwrap();
    let said = scene.fails(1, &["build", &recipe]);
    assert!(said.contains(&place) && said.contains("No such file or directory"), "{said}");
}

#[test]
fn mistakes_are_told_by_their_place() {
    let scene = Scene::new();
    let transcript = |name: &str, text: &str| {
        scene.write("recipe.json", text);
        failures::check(&scene, name, &scene.run(&["build", "--no-link", "recipe.json"]));
    };
    transcript("recipe-misspelt", "{\n  \"name\": \"x\",\n  \"builder\": \"/bin/sh\",\n  \"evn\": {}\n}\n");
    transcript(
        "recipe-unknown-name",
        "{\n  \"name\": \"x\",\n  \"builder\": \"/bin/sh\",\n  \"args\": [\"-c\", \"echo ${HOME} > ${out}\"]\n}\n",
    );
    transcript(
        "recipe-missing-file",
        "{\n  \"name\": \"x\",\n  \"builder\": \"/bin/sh\",\n  \"inputs\": { \"lib\": \"./lib.json\" }\n}\n",
    );
    transcript(
        "recipe-of-itself",
        "{\n  \"name\": \"x\",\n  \"builder\": \"/bin/sh\",\n  \"inputs\": { \"me\": \"./recipe.json\" }\n}\n",
    );
    transcript(
        "recipe-absent-path",
        "{\n  \"name\": \"x\",\n  \"builder\": \"/bin/sh\",\n  \
         \"inputs\": { \"sh\": \"/nix/store/00000000000000000000000000000000-sh\" }\n}\n",
    );
    scene.write("data.json", "[1, 2]");
    transcript(
        "recipe-of-data",
        "{\n  \"name\": \"x\",\n  \"builder\": \"/bin/sh\",\n  \"inputs\": { \"data\": \"./data.json\" }\n}\n",
    );
}

/// What people write who have not read the page to its end.
#[test]
fn what_was_meant_is_guessed() {
    let scene = Scene::new();
    for (code, text, told) in [
        (1, r#"{ "name": "x", // my program"#, "no comments, no comma before a `}`"),
        (
            1,
            r#"{ "name": "x", "builder": "/bin/sh", "inputs": ["./src"] }"#,
            "(`/inputs`): expected an object",
        ),
        (
            1,
            r#"{ "name": "x", "builder": "/bin/sh", "inputs": { "src": "~/src" } }"#,
            "with `./`, `../` or `/`\n",
        ),
        (
            100,
            r#"{ "name": "x", "builder": "/bin/sh -c", "args": ["echo"] }"#,
            "what it is to do goes into `args`",
        ),
    ] {
        scene.write("recipe.json", text);
        let said = scene.fails(code, &["build", "--no-link", "recipe.json"]);
        assert!(said.contains(told), "{told}: {said}");
    }
}

#[test]
fn paths_begin_at_the_recipe_and_not_where_one_is() {
    let scene = Scene::new();
    write(&scene, &[("deep/lib.json", ""), ("deep/greeting", "hello\n"), ("app.json", "")]);
    let lib = r#"{ "name": "lib", "builder": "/bin/sh", "inputs": { "greeting": "./greeting" },
        "outputs": ["out", "dev"],
        "args": ["-c", "read -r x < ${greeting}; echo $x > ${out}; echo $x dev > ${dev}"] }"#;
    let app = r#"{ "name": "app", "builder": "/bin/sh",
        "inputs": { "lib": "./deep/lib.json", "headers": { "recipe": "./deep/lib.json", "output": "dev" } },
        "args": ["-c", "read -r x < ${lib}; read -r y < ${headers}; read -r z < ${lib.dev}; echo $x, $y, $z > $out"] }"#;
    fs::write(scene.path("project/deep/lib.json"), lib).unwrap();
    fs::write(scene.path("project/app.json"), app).unwrap();
    scene.ok(&["build", "project/app.json"]);
    assert_eq!(fs::read_to_string(scene.path("result")).unwrap(), "hello, hello dev, hello dev\n");
    let mut elsewhere = scene.command(&["build", "--no-link", "../app.json"]);
    let run: Run = elsewhere.current_dir(scene.path("project/deep")).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    // Standard input has no directory of its own: that is where the program was started.
    let file = fs::File::open(scene.path("project/app.json")).unwrap();
    let mut add = scene.command(&["derivation", "add"]);
    let run: Run = add.current_dir(scene.path("project")).stdin(file).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout.trim(), scene.ok(&["derivation", "add", "project/app.json"]));
}

#[test]
fn what_is_in_the_store_and_what_nix_printed_can_be_inputs() {
    let scene = Scene::new();
    let drv = scene.ok(&["derivation", "add", &text(fixture("derivations/two-outputs.json"))]);
    let source = scene.write("source", "from a source");
    let source = scene.ok(&["add", &source]);
    scene.write("printed.json", read("derivations/two-outputs.json"));
    let recipe = format!(
        r#"{{ "name": "x", "builder": "/bin/sh",
              "inputs": {{ "made": "{drv}", "same": "./printed.json", "stored": "{source}" }},
              "env": {{ "made": "${{made}}", "same": "${{same}}", "stored": "${{stored}}" }} }}"#
    );
    let recipe = scene.write("recipe.json", recipe);
    let added = scene.ok(&["derivation", "add", &recipe]);
    let shown: Value = serde_json::from_str(&scene.ok(&["derivation", "show", &added])).unwrap();
    let env = &shown[&added]["env"];
    assert_eq!((&env["made"], env["stored"].as_str()), (&env["same"], Some(&*source)));
    assert_eq!(shown[&added]["inputDrvs"], serde_json::json!({ drv: ["out"] }));
}

#[test]
fn sandboxes_are_those_of_recipes_too() {
    let scene = Scene::new();
    write(&scene, &[("recipe.json", ""), ("src/x", "what is in it\n")]);
    let recipe =
        r#"{ "name": "x", "builder": "/bin/sh", "inputs": { "src": "./src" }, "env": { "src": "${src}" } }"#;
    fs::write(scene.path("project/recipe.json"), recipe).unwrap();
    let shown = scene.ok(&["sandbox", "show", "project/recipe.json"]);
    assert!(shown.contains("# not in the store yet") && shown.contains("-src"), "{shown}");
    let read = "read -r x < $src/x; echo $x";
    let said = scene.ok(&["sandbox", "run", "project/recipe.json", "--", "/bin/sh", "-c", read]);
    assert_eq!(said, "what is in it");
}

#[test]
fn an_output_may_be_asked_for_its_hash() {
    let scene = Scene::new();
    let recipe = r#"{ "name": "x", "builder": "/bin/sh", "args": ["-c", "echo x > $out"],
        "outputs": { "out": { "hash": "" } } }"#;
    let recipe = scene.write("recipe.json", recipe);
    let hash = Hash::of(HashAlgorithm::Sha256, b"x\n").to_sri();
    let told = scene.fails(102, &["build", "--option", "fod-network", "none", &recipe]);
    assert!(told.contains(&format!("\"hash\": \"{hash}\"")), "{told}");
}

#[test]
fn what_nix_makes_of_a_download_is_the_same_derivation() {
    let scene = Scene::new();
    let recipe = format!(
        r#"{{ "name": "x", "builder": "/bin/sh", "inputs": {{
            "flat": {{ "fetch": "https://example.org/hello-1.0.tar.gz", "hash": "{HASH}" }},
            "tool": {{ "fetch": "https://example.org/tool", "name": "tool-1", "executable": true, "hash": "{HASH}" }}
        }} }}"#
    );
    let recipe = scene.write("recipe.json", recipe);
    let derivations = shown(&scene, &recipe);
    // As Nix 2.8.0 calls them.
    for drv in [
        "/nix/store/2k5h6ppzd5b7psm0plcckwjqsyxhkqwa-hello-1.0.tar.gz.drv",
        "/nix/store/g16bj7js0jnlnf6mi5jc6nvs65rk5nw5-tool-1.drv",
    ] {
        assert!(derivations[drv].is_object(), "{derivations:#}");
    }
}

#[test]
fn the_schema_is_printed() {
    let scene = Scene::new();
    let schema: Value = serde_json::from_str(&scene.ok(&["recipe", "schema"])).unwrap();
    assert_eq!(schema, serde_json::from_slice::<Value>(&read("recipes/schema.json")).unwrap());
    assert!(!scene.root().exists(), "no store is made for that");
}

#[test]
fn recipes_can_be_compared_and_drawn_without_a_store() {
    let scene = Scene::new();
    write(
        &scene,
        &[("src/x", "one"), ("app.json", ""), ("lib.json", r#"{ "name": "lib", "builder": "/bin/sh" }"#)],
    );
    let app = r#"{ "name": "app", "builder": "/bin/sh", "inputs": { "src": "./src", "lib": "./lib.json" } }"#;
    fs::write(scene.path("project/app.json"), app).unwrap();
    let graph = scene.ok(&["derivation", "graph", "project/app.json"]);
    assert!(graph.contains("-app.drv") && graph.contains("-lib.drv"), "{graph}");
    let converted = scene.ok(&["derivation", "convert", "project/app.json"]);
    assert!(converted.contains("-app.drv") && converted.contains("-src"), "{converted}");
    assert!(!scene.root().exists(), "no store is made for that");
}

#[test]
fn check_says_where_a_recipe_is_wrong() {
    let scene = Scene::new();
    let wrong = scene.write("wrong.json", "{\n  \"name\": \"x\",\n  \"builder\": \"sh\"\n}\n");
    let right = scene
        .write("right.json", r#"{ "name": "x", "builder": "/bin/sh", "inputs": { "y": "./wrong.json" } }"#);
    scene.write("good.json", r#"{ "name": "x", "builder": "/bin/sh" }"#);
    assert_eq!(scene.ok(&["derivation", "check", "good.json"]), "");
    let said = scene.run(&["derivation", "check", "--json", &wrong, &right, "good.json"]);
    assert_eq!(said.code, Some(1));
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    let place = ["line", "column", "offset"].map(|key| found[0][key].as_u64().unwrap());
    assert_eq!((place, found[0]["pointer"].as_str()), ([3, 14, 30], Some("/builder")));
    // What is wrong in another one is told with its name.
    assert!(found[1]["message"].as_str().unwrap().contains("wrong.json"), "{found:?}");
    assert!(!scene.path("home/.local").exists(), "nothing was asked of a store");
}

/// The place is that of the input, not the beginning of the file, and the reason is there.
#[test]
fn check_says_where_an_input_is_wrong() {
    let scene = Scene::new();
    let recipe = |input: &str| {
        format!("{{\n  \"name\": \"x\", \"builder\": \"/bin/sh\", \"inputs\": {{ \"y\": {input} }} }}")
    };
    for (input, reason) in [
        (r#""./none.c""#, "cannot import `./none.c`"),
        (r#""./none.json""#, "none.json`: No such file"),
        (r#""/nix/store/00000000000000000000000000000000-x""#, "-x` is not in the store"),
    ] {
        scene.write("wrong.json", recipe(input));
        let said = scene.run(&["derivation", "check", "wrong.json"]);
        let place =
            said.stdout.starts_with("wrong.json:2:") && said.stdout.trim_end().ends_with("[/inputs/y]");
        assert!(place && said.stdout.contains(reason), "{}", said.stdout);
        assert!(!said.stdout.contains("line 2") && said.code == Some(1), "{}", said.stdout);
    }
    scene.write("name.json", r#"{ "name": "a b", "builder": "/bin/sh" }"#);
    let said = scene.run(&["derivation", "check", "name.json"]).stdout;
    assert!(said.contains("contains the illegal character"), "{said}");
    scene.write("text.json", "hello");
    let said = scene.run(&["derivation", "check", "text.json"]).stdout;
    assert!(said.contains("this is not JSON: "), "{said}");
}

/// All of those, and what is wrong with the others.
#[test]
fn check_says_which_files_cannot_be_read() {
    let scene = Scene::new();
    scene.write("wrong.json", r#"{ "name": "x", "builder": "sh" }"#);
    scene.write("good.json", r#"{ "name": "x", "builder": "/bin/sh" }"#);
    let said = scene.run(&["derivation", "check", "none.json", "wrong.json", ".", "good.json"]);
    assert!(said.code == Some(1) && said.stdout.starts_with("wrong.json:1:"), "{}", said.stdout);
    for part in [
        "cannot read `none.json`: No such file",
        "cannot read `.`: Is a directory",
        "1 error, 0 warnings, in what",
    ] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    let said = scene.run(&["derivation", "check", "--json", "none.json"]);
    assert!(
        said.code == Some(1) && said.stdout.is_empty() && said.stderr.contains("none.json"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_program_that_is_not_found_is_told_from_other_failures() {
    let scene = Scene::new();
    let recipe =
        |script: &str| format!(r#"{{ "name": "x", "builder": "/bin/sh", "args": ["-ec", "{script}"] }}"#);
    let absent = scene.write("absent.json", recipe("no-such-program"));
    let said = scene.fails(100, &["build", "--no-link", &absent]);
    assert!(said.contains("`PATH` leads nowhere unless"), "{said}");
    let other = scene.write("other.json", recipe("exit 1"));
    assert!(!scene.fails(100, &["build", "--no-link", &other]).contains("`PATH`"));
}
