//! A small world of network namespaces around a run of the program: a host, and another host that is all the rest.
//!
//! ```text
//!  loopback ── the host ── eth0 ─────────────── eth0 ── the rest
//!  127.0.0.1   203.0.113.2                      203.0.113.1
//!  ::1         2001:db8:1::2                    2001:db8:1::1
//! ```
//!
//! Made by `unshare` and `ip`, as an ordinary user in a user namespace, below which the program is that user again.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use crate::processes::{SOON, descendants, within};
use crate::scene::{Run, Scene, has, is_root, say, shell_derivation, text};

/// What the host can reach, and whom it asks for names.
#[derive(Clone, Copy)]
pub(crate) struct World {
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
    /// On its loopback or elsewhere. `example.test` is the rest's addresses.
    pub(crate) resolver: &'static str,
    /// Whom the resolver of the host asks in turn, as systemd writes that down.
    pub(crate) uplink: Option<&'static str>,
    /// Whether it has `/dev/net/tun`.
    pub(crate) tun: bool,
}

pub(crate) const BOTH: World =
    World { ipv4: true, ipv6: true, resolver: "203.0.113.1", uplink: None, tun: true };

/// Says a word to whoever connects, answers questions for names, or lets two meet. Goes into the background when it
/// can be reached.
const SERVER: &str = r#"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
static int listen_at(int type, const char *address, int port) {
    struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    struct sockaddr_un unix_ = { .sun_family = AF_UNIX };
    struct sockaddr *any; socklen_t length; int family, yes = 1;
    if (address[0] == '@') {
        strcpy(unix_.sun_path + 1, address + 1);
        family = AF_UNIX, any = (void *)&unix_, length = offsetof(struct sockaddr_un, sun_path) + strlen(address);
    } else if (inet_pton(AF_INET, address, &four.sin_addr) == 1) {
        family = AF_INET, any = (void *)&four, length = sizeof four;
    } else {
        inet_pton(AF_INET6, address, &six.sin6_addr);
        family = AF_INET6, any = (void *)&six, length = sizeof six;
    }
    int s = socket(family, type, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (family == AF_INET6) setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
    if (bind(s, any, length) || (type == SOCK_STREAM && listen(s, 16))) { perror(address); exit(1); }
    return s;
}
static void answer(int s) {
    unsigned char text[2048];
    struct sockaddr_storage who; socklen_t length = sizeof who;
    ssize_t n = recvfrom(s, text, 512, 0, (void *)&who, &length);
    if (n < 17) return;
    int end = 12;
    while (end < n && text[end]) end += text[end] + 1;
    end += 5;
    int kind = text[end - 4] << 8 | text[end - 3], bytes = kind == 1 ? 4 : kind == 28 ? 16 : 0;
    text[2] = 0x81, text[3] = 0x80, text[7] = bytes != 0;
    memset(text + 8, 0, 4);
    if (bytes) {
        unsigned char head[] = { 0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 9, 0, bytes };
        memcpy(text + end, head, sizeof head);
        inet_pton(kind == 1 ? AF_INET : AF_INET6, kind == 1 ? "203.0.113.1" : "2001:db8:1::1", text + end + sizeof head);
        end += sizeof head + bytes;
    }
    sendto(s, text, end, 0, (void *)&who, length);
}
int main(int count, char **words) {
    if (count < 4) return 2;
    int is_names = !strcmp(words[1], "names"), meets = !strcmp(words[1], "meet");
    int s = listen_at(is_names ? SOCK_DGRAM : SOCK_STREAM, words[2], atoi(words[3]));
    if (fork()) return 0;
    for (;;) {
        if (is_names) { answer(s); continue; }
        int one = accept(s, 0, 0), other = meets ? accept(s, 0, 0) : -1;
        const char *word = meets ? "met" : words[4];
        write(one, word, strlen(word)); close(one);
        if (meets) { write(other, word, strlen(word)); close(other); }
    }
}"#;

/// Prints what is said at each address and port, one after another.
const PROBE: &str = r#"
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
static int hear(int family, struct sockaddr *address, socklen_t length, char *text, size_t most) {
    /* Whoever is there answers at once, but for those that wait for another one. */
    struct timeval to_connect = { 1, 500000 }, to_answer = { 20, 0 };
    int s = socket(family, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &to_connect, sizeof to_connect);
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &to_answer, sizeof to_answer);
    int heard = connect(s, address, length) == 0 && read(s, text, most) > 0;
    close(s);
    return heard;
}
int main(int count, char **words) {
    setvbuf(stdout, 0, _IOLBF, 0);
    for (int i = 1; i + 1 < count; i += 2) {
        char text[100] = "";
        int heard = 0;
        if (words[i][0] == '@') {
            struct sockaddr_un name = { .sun_family = AF_UNIX };
            strcpy(name.sun_path + 1, words[i] + 1);
            socklen_t length = offsetof(struct sockaddr_un, sun_path) + strlen(words[i]);
            heard = hear(AF_UNIX, (void *)&name, length, text, sizeof text - 1);
        } else {
            struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all = 0;
            int failed = getaddrinfo(words[i], words[i + 1], &hints, &all);
            if (failed) strcpy(text, "unknown");
            for (struct addrinfo *one = all; one && !heard; one = one->ai_next)
                heard = hear(one->ai_family, one->ai_addr, one->ai_addrlen, text, sizeof text - 1);
        }
        printf("%s %s: %s\n", words[i], words[i + 1], text[0] ? text : "nothing");
    }
}"#;

/// The first process of the world is the rest; it makes the host, which makes what is between them.
const SCRIPT: &str = r#"
set -e
PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin
server=$WORLD/server
if [ "$1" != host ]; then
    ip link set lo up
    unshare --net /bin/sh "$0" host "$@" || code=$?
    # Whoever looks at what is left ends the world.
    [ -z "$LINGERS" ] || sleep 600
    exit ${code-0}
fi
shift
rest() { nsenter --target 1 --net "$@"; }
ip link set lo up
ip link add eth0 type veth peer name eth0 netns 1
ip link set eth0 up
rest ip link set eth0 up
if [ $IPV4 = true ]; then
    ip address add 203.0.113.2/24 dev eth0
    rest ip address add 203.0.113.1/24 dev eth0
    ip route add default via 203.0.113.1
    rest $server say 203.0.113.1 8000 rest4
    rest $server meet 203.0.113.1 7000 -
fi
if [ $IPV6 = true ]; then
    ip address add 2001:db8:1::2/64 dev eth0 nodad
    rest ip address add 2001:db8:1::1/64 dev eth0 nodad
    ip route add default via 2001:db8:1::1
    rest $server say 2001:db8:1::1 8000 rest6
fi
$server say 127.0.0.1 8001 host
$server say ::1 8001 host
$server say @host 0 host
case $RESOLVER in
    127.* | ::1) $server names $RESOLVER 53 ;;
    none) ;;
    *) rest $server names $RESOLVER 53 ;;
esac
if [ -n "$UPLINK" ]; then
    names=$(readlink -f /etc/resolv.conf)
    mount -t tmpfs run /run
    mkdir -p /run/systemd/resolve ${names%/*}
    echo "nameserver $UPLINK" > /run/systemd/resolve/resolv.conf
    [ -e $names ] || : > $names
    rest $server names $UPLINK 53
fi
[ $RESOLVER = none ] || echo "nameserver $RESOLVER" > $WORLD/resolv.conf
[ $RESOLVER = none ] || mount --bind $WORLD/resolv.conf /etc/resolv.conf
[ $TUN = true ] || mount -t tmpfs -o size=4k net /dev/net
cd "$WORLD"
if [ $USER_IDS = 0:0 ]; then "$@"; else
    unshare --user --map-user=${USER_IDS%:*} --map-group=${USER_IDS#*:} -- "$@"
fi
"#;

/// Returns the helpers that are here and can be used, each for `network-helper`; says what is skipped.
pub(crate) fn helpers() -> Vec<&'static str> {
    if !can_be_made() {
        return Vec::new();
    }
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        say(&format!("skipped: private networks of builds: cannot open /dev/net/tun: {error}"));
        return Vec::new();
    }
    let known = ["/usr/bin/pasta", "/usr/bin/slirp4netns"];
    known.into_iter().filter(|helper| has(helper)).collect()
}

/// Tells whether worlds can be made here; says that it is skipped if not.
pub(crate) fn can_be_made() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(namespaces()).args(["/bin/sh", "-c"]);
    let script = "PATH=$PATH:/usr/sbin:/sbin; ip link add eth0 type veth peer name eth1 && nsenter --target 1 --net true";
    let can = unshare.arg(script).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !can {
        say(
            "skipped: private networks of builds: no `unshare`, `nsenter` and `ip` that can make network namespaces",
        );
    }
    can
}

fn namespaces() -> Vec<&'static str> {
    let mut words = vec!["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    words
}

/// A program that has been started in a world of its own. Dropping it ends the world.
pub(crate) struct Inside(Option<Child>);

impl World {
    /// Returns the program in this world, with the arguments of a build that has `/probe` and `/server`.
    fn command(&self, scene: &Scene, helper: &str, arguments: &[&str]) -> Command {
        let server = scene.c_program("server", SERVER);
        let probe = scene.c_program("probe", PROBE);
        let shown = format!("/dev /proc /probe={probe} /server={server}");
        let options = ["--option", "build-chroot-dirs", &shown, "--option", "network-helper", helper];
        let store = scene.command(&[arguments, &options, &["--print-build-logs"]].concat());
        let own = fs::metadata("/proc/self").unwrap();
        let ids = if is_root() { "0:0".to_owned() } else { format!("{}:{}", own.uid(), own.gid()) };
        let mut command = Command::new("unshare");
        command.args(namespaces()).args(["/bin/sh", &scene.write("world.sh", SCRIPT)]);
        command.arg(store.get_program()).args(store.get_args()).env_clear();
        command.envs(store.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("WORLD", scene.path("")).env("USER_IDS", ids).env("RESOLVER", self.resolver);
        command.env("UPLINK", self.uplink.unwrap_or_default()).env("TUN", self.tun.to_string());
        command.env("IPV4", self.ipv4.to_string()).env("IPV6", self.ipv6.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program, and ends the world.
    pub(crate) fn run(&self, scene: &Scene, helper: &str, arguments: &[&str]) -> Run {
        self.run_with(scene, helper, arguments, &[])
    }

    /// Runs the program with further variables, and ends the world.
    pub(crate) fn run_with(
        &self,
        scene: &Scene,
        helper: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Run {
        self.command(scene, helper, arguments).envs(variables.iter().copied()).output().unwrap().into()
    }

    /// Builds a fixed output by a script, and returns what that printed.
    pub(crate) fn fixed(&self, scene: &Scene, helper: &str, script: &str) -> String {
        let file = scene.write("fixed.json", fixed("fixed", script));
        let run = self.run(scene, helper, &["build", "--no-link", &file]);
        assert_eq!(run.code, Some(0), "{helper}: {}", run.stderr);
        printed(&run.stderr)
    }

    /// Starts the program in a world that stays when it has ended.
    pub(crate) fn start(&self, scene: &Scene, helper: &str, arguments: &[&str]) -> Inside {
        let mut command = self.command(scene, helper, arguments);
        Inside(Some(command.env("LINGERS", "yes").stdout(Stdio::null()).spawn().unwrap()))
    }
}

/// Returns what builds printed, without what `store` says and puts before it.
fn printed(stderr: &str) -> String {
    let lines = stderr.lines().filter_map(|line| line.split_once("> ").map(|(_, line)| format!("{line}\n")));
    lines.collect()
}

/// Returns JSON for a fixed-output derivation that runs a script; the output is for this to write.
pub(crate) fn fixed(name: &str, script: &str) -> String {
    let script = format!("{script}\necho hello > $out");
    shell_derivation(name, &script).replace(
        "\"out\": {}",
        "\"out\": { \"hashAlgo\": \"sha256\", \
         \"hash\": \"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\" }",
    )
}

impl Inside {
    pub(crate) fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Returns the processes of a name, or of one that begins so.
    pub(crate) fn named(&self, names: &[&str]) -> Vec<u32> {
        let mut found = descendants(self.id());
        found.retain(|process| {
            let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
            names.iter().any(|start| name.starts_with(start))
        });
        found
    }

    /// Returns the processes that go by a name of their choice, parents first.
    pub(crate) fn called(&self, name: &str) -> Vec<u32> {
        let mut found = descendants(self.id());
        found.retain(|process| {
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            line.starts_with(name.as_bytes())
        });
        found
    }

    /// Returns the helpers that run. What `pasta` runs is another program of the same package.
    pub(crate) fn helpers(&self) -> Vec<u32> {
        self.named(&["pasta", "passt", "slirp4netns"])
    }

    /// Waits for the word of a builder in its arguments, which are there when its network is.
    pub(crate) fn has_started(&self, word: &str) -> bool {
        within(SOON, || self.builder(word).is_some())
    }

    /// Returns the builder that has a word in its arguments.
    pub(crate) fn builder(&self, word: &str) -> Option<u32> {
        descendants(self.id()).into_iter().find(|process| {
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            line.starts_with(b"sh\0") && String::from_utf8_lossy(&line).contains(word)
        })
    }

    /// Ends the world, and returns what was said in it.
    pub(crate) fn end(mut self) -> String {
        let mut child = self.0.take().unwrap();
        let _ = child.kill();
        let said = child.wait_with_output().unwrap();
        text(String::from_utf8_lossy(&said.stderr).into_owned())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
