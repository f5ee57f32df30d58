//! `builtin:fetchurl`: what is asked of servers, what is made of what they answer, and what is said when they do not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use store_path::{Hash, HashAlgorithm};
use test_support::fixture;

use crate::processes::{SOON, within};
use crate::scene::{Run, Scene, derivation as fixture_derivation, isolations, text};
use crate::web::{Answer, Web, socks, tunnel};
use crate::world::{BOTH, helpers};

const CONTENTS: &str = "what was wanted\n";

/// The derivation that `<nix/fetchurl.nix>` makes, save for what does not matter here.
fn derivation(url: &str, contents: &[u8], more: &[(&str, &str)]) -> Value {
    let hash = Hash::of(HashAlgorithm::Sha256, contents).to_base16();
    let mut derivation = json!({
        "name": "file", "system": "builtin", "builder": "builtin:fetchurl", "args": [],
        "env": { "url": url, "urls": url, "preferLocalBuild": "1", "impureEnvVars": "http_proxy https_proxy" },
        "inputSrcs": [], "inputDrvs": {}, "outputs": { "out": { "hashAlgo": "sha256", "hash": hash } },
    });
    for (name, value) in more {
        derivation["env"][name] = json!(value);
    }
    if more.iter().any(|(name, _)| ["unpack", "executable"].contains(name)) {
        derivation["outputs"]["out"]["hashAlgo"] = json!("r:sha256");
    }
    derivation
}

/// Builds it on the network of this machine, where the servers of the tests are.
fn run(scene: &Scene, derivation: &Value, options: &[(&str, &str)], variables: &[(&str, &str)]) -> Run {
    let file = scene.write("file.json", derivation.to_string());
    let mut arguments = vec!["build", "--no-link", "--print-build-logs", "--option", "fod-network", "host"];
    for (name, value) in options {
        arguments.extend(["--option", name, value]);
    }
    arguments.push(&file);
    scene.command(&arguments).envs(variables.iter().copied()).output().unwrap().into()
}

/// The same, which has to go well; returns where the output is, and what was said.
fn fetched(
    scene: &Scene,
    derivation: &Value,
    options: &[(&str, &str)],
    variables: &[(&str, &str)],
) -> (std::path::PathBuf, String) {
    let run = run(scene, derivation, options, variables);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    (scene.real(run.stdout.trim()), run.stderr)
}

/// The same, which has to fail.
fn refused(derivation: &Value, options: &[(&str, &str)]) -> String {
    let run = run(&Scene::new(), derivation, options, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    run.stderr
}

fn of_contents(url: &str) -> Value {
    derivation(url, CONTENTS.as_bytes(), &[])
}

#[test]
fn a_file_is_downloaded_and_redirects_are_followed() {
    let web = Web::new(|asked| match asked.line.as_str() {
        "GET /a/one" => Answer::redirect("../b/two?x=1"),
        "GET /b/two?x=1" => Answer::new("301 Moved Permanently", "Location: /file%20name", ""),
        "GET /file%20name" => Answer::new("200 OK", "Content-Encoding: gzip", CONTENTS),
        _ => Answer::not_found(),
    });
    let scene = Scene::new();
    let (path, said) = fetched(&scene, &of_contents(&web.url("/a/one#part")), &[], &[]);
    assert_eq!(fs::read_to_string(&path).unwrap(), CONTENTS);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(web.lines(), ["GET /a/one", "GET /b/two?x=1", "GET /file%20name"]);
    let first = &web.asked()[0].headers;
    assert_eq!(first.get("accept-encoding").map(String::as_str), Some("identity"));
    assert!(!first.contains_key("range") && !first.contains_key("authorization"), "{first:?}");
    let count = CONTENTS.len();
    for line in [
        format!("file> downloading `{}`", web.url("/a/one#part")),
        format!("file> redirected to `{}`", web.url("/b/two?x=1")),
        "it is kept as it came".to_owned(),
        format!("file> downloaded {count} bytes from `{}`", web.url("/file%20name")),
    ] {
        assert!(said.contains(&line), "{line}: {said}");
    }
}

#[test]
fn what_takes_long_tells_programs_how_far_it_is() {
    let web = Web::new(|_| Answer::file(CONTENTS).lingering());
    let scene = Scene::new();
    let derivation = of_contents(&web.url("/"));
    let (_, said) = fetched(&scene, &derivation, &[], &[]);
    assert!(said.contains("downloaded") && !said.contains("@nix"), "{said}");
    let drv = scene.ok(&["derivation", "add", &text(scene.path("file.json"))]);
    let log = scene.ok(&["log", &drv]);
    let events: Vec<Value> = log
        .lines()
        .filter_map(|line| line.strip_prefix("@nix "))
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    assert_eq!(
        events.iter().map(|event| event["action"].as_str()).collect::<Vec<_>>(),
        [Some("start"), Some("result"), Some("stop")]
    );
    assert_eq!(events[0]["fields"], json!([web.url("/")]));
    assert_eq!(events[1]["fields"], json!([CONTENTS.len(), CONTENTS.len(), 0, 0]));
}

#[test]
fn chunks_are_put_together() {
    let web = Web::new(|_| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        Answer::raw(format!("{head}7\r\nwhat wa\r\n9\r\ns wanted\n\r\n0\r\n\r\n"))
    });
    let scene = Scene::new();
    let (path, _) = fetched(&scene, &of_contents(&web.url("/")), &[], &[]);
    assert_eq!(fs::read_to_string(path).unwrap(), CONTENTS);
}

#[test]
fn what_is_to_be_run_may_be_run() {
    let web = Web::new(|_| Answer::file("#!/bin/sh\n"));
    let scene = Scene::new();
    fs::write(scene.path("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(scene.path("run"), fs::Permissions::from_mode(0o755)).unwrap();
    let archive = scene.command(&["dump", &text(scene.path("run"))]).output().unwrap().stdout;
    let (path, _) = fetched(&scene, &derivation(&web.url("/x"), &archive, &[("executable", "1")]), &[], &[]);
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o555);
}

#[test]
fn an_archive_becomes_a_tree() {
    let archive = fs::read(fixture("downloads/tree.nar")).unwrap();
    let compressed = fs::read(fixture("downloads/tree.nar.xz")).unwrap();
    let plain = archive.clone();
    let web = Web::new(move |asked| match asked.line.as_str() {
        "GET /tree.nar" => Answer::file(&plain),
        "GET /tree.nar.xz" => Answer::file(&compressed),
        _ => Answer::file("no archive"),
    });
    for name in ["/tree.nar", "/tree.nar.xz"] {
        let derivation = derivation(&web.url(name), &archive, &[("unpack", "1")]);
        let scene = Scene::new();
        let (path, _) = fetched(&scene, &derivation, &[], &[]);
        assert_eq!(fs::read_to_string(path.join("link")).unwrap(), "text\n");
        assert_eq!(fs::metadata(path.join("run")).unwrap().permissions().mode() & 0o777, 0o555);
    }
    let said = refused(&derivation(&web.url("/other"), &archive, &[("unpack", "1")]), &[]);
    assert!(said.contains("is no archive of Nix (NAR)"), "{said}");
}

#[test]
fn attributes_may_be_structured() {
    let web = Web::new(|_| Answer::file(CONTENTS));
    let mut derivation = of_contents(&web.url("/"));
    let attributes = json!({ "url": web.url("/structured"), "executable": false, "unpack": false });
    derivation["env"] = json!({ "__json": attributes.to_string() });
    let scene = Scene::new();
    let (path, _) = fetched(&scene, &derivation, &[], &[]);
    assert_eq!(fs::read_to_string(path).unwrap(), CONTENTS);
    assert_eq!(web.lines(), ["GET /structured"]);
}

#[test]
fn a_file_of_the_sandbox_is_copied() {
    let scene = Scene::new();
    let source = scene.write("sour ce", CONTENTS);
    let shown = format!("/shown={}", scene.path("sour ce").parent().unwrap().display());
    let derivation = of_contents("file:///shown/sour%20ce");
    let (path, _) = fetched(&scene, &derivation, &[("extra-build-chroot-dirs", &shown)], &[]);
    assert_eq!(fs::read_to_string(path).unwrap(), CONTENTS);
    let said = refused(&of_contents(&format!("file://{}", source.replace(' ', "%20"))), &[]);
    assert!(said.contains("a build sees its inputs, and what `build-chroot-dirs` shows it"), "{said}");
}

#[test]
fn a_failure_that_may_pass_is_tried_again() {
    let web = Web::new(|asked| match asked.before {
        0 => Answer::new("503 Service Unavailable", "Retry-After: 1", "later"),
        1 => Answer::new("429 Too Many Requests", "", ""),
        _ => Answer::file(CONTENTS),
    });
    let (_, said) = fetched(&Scene::new(), &of_contents(&web.url("/")), &[], &[]);
    assert_eq!(web.asked().len(), 3);
    assert!(said.contains("the server answered 503 Service Unavailable; trying again in"), "{said}");
    assert!(said.contains("(3 of 5)"), "{said}");
    // Not longer than somebody wants.
    let web = Web::new(|_| Answer::new("500 Internal Server Error", "", ""));
    let said = refused(&of_contents(&web.url("/")), &[("download-attempts", "2")]);
    assert_eq!(web.asked().len(), 2);
    assert!(said.contains("the server has failed, or is overloaded"), "{said}");
}

#[test]
fn a_failure_that_stays_is_not_tried_again() {
    for (status, hint) in [
        ("404 Not Found", "it is not there, or not any more"),
        ("403 Forbidden", "`netrc-file`"),
        ("501 Not Implemented", "the server has failed"),
        ("418 I'm a teapot", "the server answered 418"),
        ("300 Multiple Choices", "the server answered 300"),
        ("206 Partial Content", "the server answered 206"),
    ] {
        let web = Web::new(move |_| Answer::new(status, "", "not what was wanted"));
        let said = refused(&of_contents(&web.url("/")), &[]);
        assert!(said.contains(hint) && said.contains(&format!("`{}`", web.url("/"))), "{said}");
        assert_eq!(web.asked().len(), 1, "{status}");
    }
}

#[test]
fn redirects_do_not_lead_anywhere() {
    let web = Web::new(|_| Answer::redirect("/again"));
    let said = refused(&of_contents(&web.url("/")), &[]);
    assert!(said.contains("it was redirected more than 10 times"), "{said}");
    assert_eq!(web.asked().len(), 11);
    let web = Web::new(|_| Answer::redirect("file:///etc/passwd"));
    let said = refused(&of_contents(&web.url("/")), &[]);
    assert!(said.contains("a redirect to `file:///etc/passwd`, which is not followed"), "{said}");
    let said = refused(&of_contents("ftp://127.0.0.1/x"), &[]);
    assert!(said.contains("only `http`, `https` and `file` are known"), "{said}");
}

#[test]
fn a_transfer_goes_on_where_it_broke_off() {
    const ONE: &str = "Accept-Ranges: bytes\r\nETag: \"one\"";
    let (first, rest) = CONTENTS.split_at(5);
    let web = Web::new(move |asked| match asked.headers.get("range").map(String::as_str) {
        None => Answer::promising(CONTENTS.len(), "200 OK", ONE, first),
        Some("bytes=5-") => {
            assert_eq!(asked.headers["if-range"], "\"one\"");
            Answer::new("206 Partial Content", &format!("Content-Range: bytes 5-15/16\r\n{ONE}"), rest)
        }
        _ => Answer::not_found(),
    });
    let scene = Scene::new();
    let (path, said) = fetched(&scene, &of_contents(&web.url("/")), &[], &[]);
    assert_eq!(fs::read_to_string(path).unwrap(), CONTENTS);
    assert!(said.contains("going on after 5 bytes") && said.contains("downloaded 16 bytes"), "{said}");
    assert_eq!(web.asked().len(), 2);
}

#[test]
fn a_transfer_begins_again_where_the_server_cannot_go_on() {
    // One that never says that it could, one whose file is another now, and one that goes on elsewhere.
    let cases: [(&'static str, &'static str, usize); 3] = [
        ("X-Filler: x", "200 OK", 2),
        ("Accept-Ranges: bytes\r\nETag: \"one\"", "200 OK", 2),
        ("Accept-Ranges: bytes\r\nETag: \"one\"", "206 Partial Content", 3),
    ];
    for (headers, status, count) in cases {
        let web = Web::new(move |asked| match (asked.before, asked.headers.contains_key("range")) {
            (0, _) => Answer::promising(CONTENTS.len(), "200 OK", headers, "other"),
            (1, true) => Answer::new(status, "Content-Range: bytes 3-15/16", CONTENTS),
            _ => Answer::file(CONTENTS),
        });
        let scene = Scene::new();
        let (path, _) = fetched(&scene, &of_contents(&web.url("/")), &[], &[]);
        assert_eq!(fs::read_to_string(path).unwrap(), CONTENTS);
        assert_eq!(web.asked().len(), count, "{headers} {status}");
    }
}

#[test]
fn a_transfer_that_stalls_is_given_up() {
    let web = Web::new(|asked| match asked.before {
        0 => Answer::promising(100, "200 OK", "", "begin").stalling(),
        _ => Answer::file(CONTENTS),
    });
    let options = [("stalled-download-timeout", "1")];
    let (_, said) = fetched(&Scene::new(), &of_contents(&web.url("/")), &options, &[]);
    assert!(
        said.contains("nothing came within the time that the setting `stalled-download-timeout` gives"),
        "{said}"
    );
}

#[test]
fn a_mirror_is_asked_by_the_hash_first() {
    let hash = Hash::of(HashAlgorithm::Sha256, CONTENTS.as_bytes()).to_base16();
    let place = format!("GET /mirror/sha256/{hash}");
    let mirror =
        Web::new(move |asked| if asked.line == place { Answer::file(CONTENTS) } else { Answer::not_found() });
    let web = Web::new(|_| Answer::file(CONTENTS));
    let wrong = Web::new(|_| Answer::file("something else"));
    let mirrors =
        format!("{} {} {}/", web.url("/").replace("http:", "ftp:"), wrong.url(""), mirror.url("/mirror"));
    let derivation = of_contents(&web.url("/file"));
    let scene = Scene::new();
    let (path, said) = fetched(&scene, &derivation, &[("hashed-mirrors", &mirrors)], &[]);
    assert_eq!(fs::read_to_string(path).unwrap(), CONTENTS);
    assert_eq!((wrong.asked().len(), mirror.asked().len(), web.asked().len()), (1, 1, 0));
    assert!(said.contains("not from this mirror: it has a file with the hash sha256-"), "{said}");
    // Where none has it, the URL has.
    let (_, said) =
        fetched(&Scene::new(), &derivation, &[("hashed-mirrors", &mirror.url("/elsewhere"))], &[]);
    assert!(said.contains("not from this mirror") && said.contains("404"), "{said}");
    // A tree has no such hash.
    let archive = fs::read(fixture("downloads/tree.nar")).unwrap();
    let tree = archive.clone();
    let web = Web::new(move |_| Answer::file(&tree));
    let derivation = self::derivation(&web.url("/tree.nar"), &archive, &[("unpack", "1")]);
    let before = mirror.asked().len();
    fetched(&Scene::new(), &derivation, &[("hashed-mirrors", &mirror.url("/mirror"))], &[]);
    assert_eq!(mirror.asked().len(), before);
}

#[test]
fn each_host_gets_its_own_login() {
    let other = Web::new(|_| Answer::file(CONTENTS));
    let to = other.url("/").replace("127.0.0.1", "localhost");
    let web = Web::new(move |asked| match asked.headers.get("authorization").map(String::as_str) {
        // me:secret
        Some("Basic bWU6c2VjcmV0") => Answer::redirect(&to),
        _ => Answer::new("401 Unauthorized", "", ""),
    });
    let scene = Scene::new();
    let netrc = scene.write("netrc", "machine 127.0.0.1 login me password secret\n");
    let derivation = of_contents(&web.url("/"));
    let (_, said) = fetched(&scene, &derivation, &[("netrc-file", &netrc)], &[]);
    assert!(!said.contains("secret"), "{said}");
    assert!(!other.asked()[0].headers.contains_key("authorization"), "it is for the other host");
    // In the URL, too; and it is not shown.
    let (_, said) =
        fetched(&Scene::new(), &of_contents(&web.url("/").replace("//", "//me:secret@")), &[], &[]);
    assert!(!said.contains("secret") && said.contains(&web.url("/")), "{said}");
    let said = refused(&derivation, &[]);
    assert!(said.contains("401") && said.contains("`netrc-file`"), "{said}");
    let run = run(&Scene::new(), &derivation, &[("netrc-file", "/nowhere/netrc")], &[]);
    assert!(run.code == Some(100) && run.stderr.contains("cannot read `/nowhere/netrc`"), "{}", run.stderr);
}

#[test]
fn a_proxy_is_asked_for_the_whole_url() {
    let proxy = Web::new(|_| Answer::file(CONTENTS));
    let with_login = proxy.url("").replace("//", "//me:secret@");
    let derivation = of_contents("http://example.test:81/a?b");
    fetched(&Scene::new(), &derivation, &[], &[("http_proxy", &with_login)]);
    fetched(&Scene::new(), &derivation, &[], &[("HTTP_PROXY", proxy.url("").trim_start_matches("http://"))]);
    fetched(&Scene::new(), &derivation, &[], &[("all_proxy", &proxy.url("/"))]);
    assert_eq!(proxy.lines(), ["GET http://example.test:81/a?b"; 3]);
    let headers: Vec<_> = proxy.asked().into_iter().map(|asked| asked.headers).collect();
    assert_eq!(headers[0]["proxy-authorization"], "Basic bWU6c2VjcmV0");
    assert_eq!(headers[0]["host"], "example.test:81");
    assert!(!headers[1].contains_key("proxy-authorization"));
    // Not for what is listed.
    let web = Web::new(|_| Answer::file(CONTENTS));
    let variables = [("http_proxy", proxy.url("")), ("NO_PROXY", "127.0.0.1".to_owned())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    fetched(&Scene::new(), &of_contents(&web.url("/")), &[], &variables);
    assert_eq!((web.asked().len(), proxy.asked().len()), (1, 3));
}

#[test]
fn a_proxy_may_speak_socks() {
    let web = Web::new(|_| Answer::file(CONTENTS));
    let (port, asked) = socks();
    let derivation = of_contents(&web.url("/").replace("127.0.0.1", "example.test"));
    // The proxy looks the name up; this machine cannot.
    let proxy = format!("socks5h://127.0.0.1:{port}");
    let (_, said) = fetched(&Scene::new(), &derivation, &[], &[("all_proxy", &proxy)]);
    assert!(said.contains(&format!("asking the proxy `{proxy}`")), "{said}");
    let place = web.url("").replace("http://127.0.0.1", "example.test");
    assert_eq!(*asked.lock().unwrap(), [place]);
}

#[test]
fn a_proxy_that_cannot_be_had_is_named() {
    let no = Web::new(|_| Answer::new("403 Forbidden", "", ""));
    let proxy = no.url("").replace("//", "//me:secret@");
    let scene = Scene::new();
    let run = run(&scene, &of_contents("https://example.test/"), &[], &[("https_proxy", &proxy)]);
    let problem = format!("the proxy `{}` cannot be used: ", no.url(""));
    assert!(run.stderr.contains(&problem) && !run.stderr.contains("secret"), "{}", run.stderr);
}

#[test]
fn what_nix_instantiates_is_downloaded() {
    let proxy = Web::new(|_| Answer::file(CONTENTS));
    let scene = Scene::new();
    let arguments =
        ["build", "--no-link", "--option", "fod-network", "host", &fixture_derivation("download")];
    let run: Run = scene.command(&arguments).env("http_proxy", proxy.url("")).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(fs::read_to_string(scene.real(run.stdout.trim())).unwrap(), CONTENTS);
    assert_eq!(proxy.lines(), ["GET http://example.test/file"]);
}

#[test]
fn a_secure_server_is_one_that_is_vouched_for() {
    let web = Web::secure(|_| Answer::file(CONTENTS));
    let url = web.url("/").replace("http:", "https:");
    let authority = text(fixture("tls/authority.pem"));
    let derivation = of_contents(&url);
    fetched(&Scene::new(), &derivation, &[("ssl-cert-file", &authority)], &[]);
    fetched(
        &Scene::new(),
        &of_contents(&url.replace("127.0.0.1", "localhost")),
        &[],
        &[("NIX_SSL_CERT_FILE", &authority)],
    );
    fetched(&Scene::new(), &derivation, &[], &[("SSL_CERT_FILE", &authority)]);
    let (port, tunnelled) = tunnel();
    let variables =
        [("https_proxy", format!("http://127.0.0.1:{port}")), ("SSL_CERT_FILE", authority.clone())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    fetched(&Scene::new(), &derivation, &[], &variables);
    let place = url.trim_start_matches("https://").trim_end_matches('/').to_owned();
    assert_eq!(*tunnelled.lock().unwrap(), [format!("CONNECT {place}")]);
    let before = web.asked().len();
    // By itself, it is not; nor is it another host.
    let own = text(fixture("tls/server.pem"));
    let said = refused(&derivation, &[("ssl-cert-file", &own)]);
    assert!(
        said.contains("no secure connection (TLS) can be had") && said.contains("`ssl-cert-file`"),
        "{said}"
    );
    assert!(!said.contains("trying again"), "{said}");
    let said = refused(
        &of_contents(&url.replace("127.0.0.1", "127.0.0.2")),
        &[("ssl-cert-file", &authority), ("download-attempts", "1")],
    );
    assert!(said.contains("cannot download"), "{said}");
    let scene = Scene::new();
    let empty = scene.write("empty.pem", "nothing\n");
    let said = refused(&derivation, &[("ssl-cert-file", &empty)]);
    assert!(said.contains("there is no certificate in `"), "{said}");
    assert_eq!(web.asked().len(), before, "nobody has asked who did not trust");
}

#[test]
fn it_is_isolated_as_every_build_is() {
    let web = Web::new(|_| Answer::file(CONTENTS));
    for isolation in isolations() {
        let scene = Scene::new();
        let options = [("build-isolation", *isolation), ("max-build-dir-size", "1M")];
        let options = if *isolation == "chroot" { &options[..1] } else { &options[..] };
        let (path, _) = fetched(&scene, &of_contents(&web.url("/")), options, &[]);
        assert_eq!(fs::read_to_string(path).unwrap(), CONTENTS);
    }
    // It fills no more than it was given, and that is no reason to try again.
    let big = Web::new(|_| Answer::file(vec![0; 1 << 21]));
    let archive = derivation(&big.url("/"), b"", &[("unpack", "1")]);
    let said = refused(&archive, &[("max-build-dir-size", "1M")]);
    assert!(said.contains("cannot write `/build/download`: No space left"), "{said}");
    assert_eq!(big.asked().len(), 1);
}

#[test]
fn a_wrong_file_is_told_by_its_hash() {
    let web = Web::new(|_| Answer::file("something else"));
    let run = run(&Scene::new(), &of_contents(&web.url("/")), &[], &[]);
    let got = Hash::of(HashAlgorithm::Sha256, b"something else").to_sri();
    assert!(run.code == Some(102) && run.stderr.contains(&format!("got:       {got}")), "{}", run.stderr);
}

#[test]
fn without_a_network_it_is_said_why() {
    // Closed at once.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = of_contents(&format!("http://127.0.0.1:{port}/"));
    let said = refused(&closed, &[("download-attempts", "1")]);
    assert!(said.contains("Connection refused"), "{said}");
    for url in ["http://example.test/", "http://203.0.113.1/"] {
        let said = refused(&of_contents(url), &[("fod-network", "none")]);
        assert!(said.contains("the sandbox has no network: `fod-network = none`"), "{said}");
        assert!(!said.contains("trying again"), "{said}");
    }
}

#[test]
fn a_name_is_looked_up_on_the_private_network() {
    for helper in helpers() {
        let scene = Scene::new();
        let file = scene.write("file.json", of_contents("http://example.test:8000/").to_string());
        let run =
            BOTH.run(&scene, helper, &["build", "--no-link", &file, "--option", "download-attempts", "1"]);
        // Its server says a word that is none of HTTP, and may have gone before it was asked.
        let is_there = ["the answer makes no sense", "reset by peer", "Broken pipe"];
        assert!(is_there.iter().any(|text| run.stderr.contains(text)), "{helper}: {}", run.stderr);
    }
}

#[test]
fn only_what_can_be_checked_is_downloaded() {
    let mut derivation = of_contents("http://127.0.0.1:1/");
    derivation["outputs"] = json!({ "out": {} });
    let run = run(&Scene::new(), &derivation, &[], &[]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    assert!(
        run.stderr.contains("it takes a fixed output (`outputHash`), or an impure derivation"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_download_that_is_not_wanted_any_more_ends() {
    let web = Web::new(|_| Answer::promising(100, "200 OK", "", "begin").stalling());
    let scene = Scene::new();
    let file = scene.write("file.json", of_contents(&web.url("/")).to_string());
    let arguments = ["build", "--no-link", "--option", "fod-network", "host", &file];
    let mut child = scene.command(&arguments).stderr(std::process::Stdio::null()).spawn().unwrap();
    assert!(within(SOON, || !web.asked().is_empty()));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGINT)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
