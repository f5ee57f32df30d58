//! A browser without a window, told what to do through a pair of pipes (the DevTools protocol of Chromium).

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};
use test_support::Scratch;

use crate::scene::{say, text};

/// As long may one answer take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser with one page. Dropping it ends it.
pub(crate) struct Browser {
    child: Child,
    commands: File,
    messages: Receiver<Value>,
    last: u64,
    session: String,
    has_loaded: bool,
    /// What pages have complained about.
    pub(crate) complaints: Vec<String>,
    _scratch: Scratch,
}

impl Browser {
    /// Starts one; where there is none, says that the test is skipped.
    pub(crate) fn start() -> Option<Self> {
        let is_there =
            |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|run| run.status.success());
        let Some(program) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(is_there)
        else {
            say("skipped: no Chromium on this machine");
            return None;
        };
        let scratch = Scratch::new();
        let [commands, answers] = ["commands", "answers"].map(|name| scratch.join(name));
        assert!(Command::new("mkfifo").args([&commands, &answers]).status().unwrap().success());
        let mut child = Command::new("sh");
        child.args(["-c", r#"exec "$0" "$@" 3<commands 4>answers"#, program]);
        // What is shown is our own page; and in a container there may be no sandbox for it, nor a large /dev/shm.
        child.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ]);
        child.args(["--remote-debugging-pipe", "--lang=en-GB", "--no-first-run"]);
        child.arg(format!("--user-data-dir={}", text(scratch.join("profile"))));
        child.current_dir(scratch.path()).env("HOME", scratch.path()).env("TZ", "UTC");
        let child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let commands = File::options().write(true).open(commands).unwrap();
        let messages = listen(File::open(answers).unwrap());
        let mut browser = Self {
            child,
            commands,
            messages,
            last: 0,
            session: String::new(),
            has_loaded: false,
            complaints: Vec::new(),
            _scratch: scratch,
        };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": page["targetId"], "flatten": true });
        browser.session =
            browser.call("Target.attachToTarget", target)["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Opens a file in a window of that size, and waits until it has drawn.
    pub(crate) fn open(&mut self, file: &Path, (width, height): (u32, u32)) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        self.has_loaded = false;
        self.call("Page.navigate", json!({ "url": format!("file://{}", text(file)) }));
        while !self.has_loaded {
            let message = self.messages.recv_timeout(PATIENCE).unwrap();
            self.hear(&message);
        }
        self.draws();
    }

    /// Waits until the page has drawn what there is to draw.
    pub(crate) fn draws(&mut self) {
        let drawn = "new Promise((done) => {
            const look = () => document.documentElement?.dataset.drawn ? requestAnimationFrame(() => requestAnimationFrame(() => done(1))) : setTimeout(look, 20);
            look();
        })";
        assert_eq!(self.eval(drawn), 1);
    }

    /// Returns what a JavaScript expression comes to.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let question = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", question);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].take()
    }

    /// Presses keys as a person does, one after the other.
    pub(crate) fn press(&mut self, keys: &[&str]) {
        for key in keys {
            let code = match *key {
                "Enter" => 13,
                "Escape" => 27,
                "End" => 35,
                "Home" => 36,
                "ArrowUp" => 38,
                "ArrowDown" => 40,
                "Tab" => 9,
                _ => 0,
            };
            let typed = if key.chars().count() == 1 { *key } else { "" };
            let down = json!({ "type": "keyDown", "key": key, "text": typed, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", down);
            self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
        }
    }

    /// Lets the system have light or dark colours.
    pub(crate) fn colours(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
        self.draws();
    }

    /// Returns a picture of the window, as PNG.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        BASE64.decode(picture["data"].as_str().unwrap().as_bytes()).unwrap()
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        write!(self.commands, "{message}\0").unwrap();
        loop {
            let mut message =
                self.messages.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.last {
                assert_eq!(message["error"], Value::Null, "{method}");
                return message["result"].take();
            }
            self.hear(&message);
        }
    }

    /// Keeps what is wrong.
    fn hear(&mut self, message: &Value) {
        let params = &message["params"];
        self.has_loaded |= message["method"] == "Page.loadEventFired";
        let is_wrong = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => params["type"] == "error",
            Some("Log.entryAdded") => params["entry"]["level"] == "error",
            _ => false,
        };
        if is_wrong {
            self.complaints.push(params.to_string());
        }
    }
}

/// Reads messages, each of which ends with a zero, in a thread that ends with the browser.
fn listen(answers: File) -> Receiver<Value> {
    let (sender, messages) = mpsc::channel();
    thread::spawn(move || {
        for message in BufReader::new(answers).split(0).map_while(Result::ok) {
            if sender.send(serde_json::from_slice(&message).unwrap_or_default()).is_err() {
                break;
            }
        }
    });
    messages
}

impl Drop for Browser {
    fn drop(&mut self) {
        // In good order, so that none of its processes stays.
        let _ = write!(self.commands, "{}\0", json!({ "id": 0, "method": "Browser.close" }));
        while self.messages.recv_timeout(Duration::from_secs(10)).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
