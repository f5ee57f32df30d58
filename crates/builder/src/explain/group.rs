//! From single lookups to findings: what belongs together, and what comes first.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sandbox::{Absent, Address, How, Kind, Observed};

use super::{Finding, FindingKind, Remedy, Surroundings, in_store, noise};

/// Processes that are named for one finding.
const MOST_NAMED: usize = 3;

/// So many files of one directory are told as that directory.
const MANY: usize = 3;

/// A finding on its way, with the place of its last lookup among all.
struct Group {
    finding: Finding,
    names: BTreeSet<PathBuf>,
    how: How,
    last: usize,
}

/// One lookup of it.
struct Lookup<'a> {
    name: PathBuf,
    by: &'a str,
    how: How,
    place: usize,
}

/// Everything that is worth telling, the most telling first.
pub(super) fn findings(observed: &Observed, surroundings: &Surroundings<'_>) -> Vec<Finding> {
    let mut groups = Groups::default();
    for (place, absent) in observed.absent.iter().enumerate() {
        groups.add_path(place, absent, surroundings);
    }
    groups.join_directories();
    // A network is asked last, as a rule, and what is asked for there is not in the order of the paths.
    let last = observed.absent.len();
    let names_a_host = observed.addresses.iter().any(|address| address.name.is_some());
    for address in observed.addresses.iter().filter(|_| !surroundings.has_network) {
        // Who asks is told; whom it asks tells nothing more.
        if address.name.is_some() || !names_a_host || !address.text.ends_with(":53") {
            groups.add_address(last, address, surroundings.is_fixed);
        }
    }
    let mut all = groups.all;
    all.sort_by_key(|group| (tier(group), std::cmp::Reverse(group.last)));
    all.into_iter().map(|group| Finding { count: group.names.len(), ..group.finding }).collect()
}

/// How telling a finding is: builds fail without what they run, often without headers, now and then without others.
fn tier(group: &Group) -> u8 {
    match group.finding.kind {
        FindingKind::Program if group.how == How::Run => 0,
        FindingKind::Interpreter { .. }
        | FindingKind::StorePath
        | FindingKind::Address
        | FindingKind::HostName => 0,
        FindingKind::Program
        | FindingKind::Header
        | FindingKind::Headers
        | FindingKind::Library
        | FindingKind::Socket
        | FindingKind::Device => 1,
        FindingKind::Directory | FindingKind::File => 2,
    }
}

/// What is the same thing: two paths of one program are.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key(u8, PathBuf);

#[derive(Default)]
struct Groups {
    all: Vec<Group>,
    places: HashMap<Key, usize>,
}

impl Groups {
    fn add(&mut self, key: Key, lookup: Lookup<'_>, new: impl FnOnce() -> Finding) {
        let Lookup { name, by, how, place } = lookup;
        let index = *self.places.entry(key).or_insert_with(|| {
            self.all.push(Group { finding: new(), names: BTreeSet::new(), how, last: place });
            self.all.len() - 1
        });
        let group = &mut self.all[index];
        group.names.insert(name);
        (group.last, group.how) = (place, group.how.max(how));
        let named = &mut group.finding.by;
        if named.len() < MOST_NAMED && !named.iter().any(|one| one == by) {
            named.push(by.to_owned());
        }
    }

    fn add_path(&mut self, place: usize, absent: &Absent, surroundings: &Surroundings<'_>) {
        let path = &absent.path;
        let lookup = Lookup { name: path.clone(), by: &absent.by, how: absent.how, place };
        if path.starts_with(surroundings.store_dir.as_str()) {
            let Some(store_path) = in_store(surroundings.store_dir, path) else { return };
            if surroundings.known.contains(&store_path) {
                return;
            }
            let remedy = match surroundings.valid.contains(&store_path) {
                true => Remedy::Input(store_path),
                // Compilers look beside each of their files.
                false if noise::is_noise(path) => return,
                false => Remedy::AbsentInput(store_path),
            };
            let key = PathBuf::from(format!("{remedy:?}"));
            self.add(Key(0, key), lookup, || finding(FindingKind::StorePath, path.clone(), remedy));
            return;
        }
        if noise::is_noise(path) && absent.how != How::Run {
            return;
        }
        let (kind, key, name) = classify(absent);
        let remedy = Remedy::ChrootDir(name.clone());
        self.add(key, lookup, || finding(kind, name, remedy));
    }

    fn add_address(&mut self, place: usize, address: &Address, is_fixed: bool) {
        let remedy = if is_fixed { Remedy::FodNetwork } else { Remedy::FixedOutput };
        let (kind, name) = match &address.name {
            Some(name) => (FindingKind::HostName, name),
            None => (FindingKind::Address, &address.text),
        };
        let name = PathBuf::from(name);
        let lookup = Lookup { name: name.clone(), by: &address.by, how: How::Connect, place };
        self.add(Key(1, name.clone()), lookup, || finding(kind, name, remedy));
    }

    /// Makes one of many files of one directory, and of a directory and what is in it.
    fn join_directories(&mut self) {
        let mut files: HashMap<PathBuf, usize> = HashMap::new();
        let parent = |group: &Group| group.finding.name.parent().map(Path::to_owned);
        for group in self.all.iter().filter(|group| group.finding.kind == FindingKind::File) {
            *files.entry(parent(group).unwrap_or_default()).or_default() += 1;
        }
        let directories = self.all.iter().filter(|group| group.finding.kind == FindingKind::Directory);
        let mut known: BTreeSet<PathBuf> = directories.map(|group| group.finding.name.clone()).collect();
        known.extend(
            files
                .into_iter()
                .filter(|(path, count)| *count >= MANY && !noise::is_noise(path))
                .map(|(path, _)| path),
        );
        let groups = std::mem::take(self);
        for group in groups.all {
            let is_plain = matches!(group.finding.kind, FindingKind::File | FindingKind::Directory);
            let directory = known.iter().find(|path| is_plain && group.finding.name.starts_with(path));
            let (kind, name) = match directory {
                Some(directory) => (FindingKind::Directory, directory.clone()),
                None => (group.finding.kind, group.finding.name),
            };
            // They were told apart before.
            let key = Key(
                if directory.is_some() { 2 } else { 3 },
                match directory {
                    Some(directory) => directory.clone(),
                    None => PathBuf::from(format!("{kind:?} {}", name.display())),
                },
            );
            let remedy =
                if directory.is_some() { Remedy::ChrootDir(name.clone()) } else { group.finding.remedy };
            for by in &group.finding.by {
                for path in &group.names {
                    let new = || finding(kind.clone(), name.clone(), remedy.clone());
                    let lookup = Lookup { name: path.clone(), by, how: group.how, place: group.last };
                    self.add(key.clone(), lookup, new);
                }
            }
        }
    }
}

fn finding(kind: FindingKind, name: PathBuf, remedy: Remedy) -> Finding {
    Finding { kind, name, count: 0, by: Vec::new(), remedy }
}

/// The kind of thing that was looked for, what else is the same thing, and what to call it.
fn classify(absent: &Absent) -> (FindingKind, Key, PathBuf) {
    let path = &absent.path;
    let file_name = path.file_name().unwrap_or_default();
    let whole = |number| Key(number, path.clone());
    if let Some(of) = &absent.needed_by {
        return (FindingKind::Interpreter { of: of.clone() }, whole(4), path.clone());
    }
    if absent.how == How::Connect {
        return (FindingKind::Socket, whole(6), path.clone());
    }
    let is_program = absent.host == Some(Kind::Program) && in_programs(path);
    if absent.how == How::Run || is_program {
        return (FindingKind::Program, Key(5, file_name.into()), path.clone());
    }
    if path.starts_with("/dev") {
        return (FindingKind::Device, whole(7), path.clone());
    }
    if let Some((directory, below)) = header(path) {
        let first = Path::new(below.components().next().map_or(file_name, |first| first.as_os_str()));
        let is_one = first == below && absent.host != Some(Kind::Directory);
        let kind = if is_one { FindingKind::Header } else { FindingKind::Headers };
        return (kind, Key(8, first.to_owned()), directory.join(first));
    }
    if is_library(file_name) {
        return (FindingKind::Library, Key(9, file_name.into()), path.clone());
    }
    match absent.host {
        Some(Kind::Directory) => (FindingKind::Directory, whole(10), path.clone()),
        _ => (FindingKind::File, whole(10), path.clone()),
    }
}

fn in_programs(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|name| name == "bin" || name == "sbin")
}

/// Splits a path at the directory in which compilers look for headers.
fn header(path: &Path) -> Option<(&Path, &Path)> {
    let is_place = |place: &&Path| {
        let name = place.file_name().unwrap_or_default();
        let of_architecture = name.as_bytes().windows(7).any(|window| window == b"-linux-");
        name == "include"
            || of_architecture && place.parent().is_some_and(|parent| parent.ends_with("include"))
    };
    let place = path.ancestors().skip(1).find(is_place)?;
    Some((place, path.strip_prefix(place).ok()?))
}

fn is_library(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.ends_with(b".a") || name.ends_with(b".so") || name.windows(4).any(|window| window == b".so.")
}

#[cfg(test)]
mod tests {
    use store_path::{StoreDir, StorePath};

    use super::*;

    const OUT: &str = "00000000000000000000000000000001-out";
    const VALID: &str = "00000000000000000000000000000002-valid";

    fn absent(path: &str, how: How, by: &str, host: Kind) -> Absent {
        Absent { path: path.into(), how, by: by.to_owned(), needed_by: None, host: Some(host) }
    }

    fn told(observed: &Observed) -> Vec<String> {
        let store_dir = StoreDir::default();
        let known = BTreeSet::from([OUT.parse::<StorePath>().unwrap()]);
        let valid = BTreeSet::from([VALID.parse::<StorePath>().unwrap()]);
        let surroundings = Surroundings {
            store_dir: &store_dir,
            known: &known,
            valid: &valid,
            is_fixed: false,
            has_network: false,
        };
        let kind = |kind: &FindingKind| format!("{kind:?}");
        findings(observed, &surroundings)
            .iter()
            .map(|one| {
                format!("{} {} {} {}", kind(&one.kind), one.name.display(), one.count, one.by.join("+"))
            })
            .collect()
    }

    #[test]
    fn what_belongs_together_is_one_and_what_tells_most_comes_first() {
        let observed = Observed {
            absent: vec![
                absent("/etc/ssl/certs/a.pem", How::Open, "curl", Kind::Other),
                absent("/etc/ssl/certs", How::Look, "curl", Kind::Directory),
                absent("/usr/share/misc/x", How::Open, "file", Kind::Other),
                absent("/usr/lib/libz.so", How::Open, "ld", Kind::Other),
                absent("/usr/local/bin/cmake", How::Look, "sh", Kind::Program),
                absent("/usr/bin/cmake", How::Run, "make", Kind::Program),
                absent("/usr/include/boost/any.hpp", How::Open, "cc1plus", Kind::Other),
                absent("/usr/include/boost/all.hpp", How::Open, "cc1plus", Kind::Other),
                absent("/usr/include", How::Look, "cc1", Kind::Directory),
                absent("/etc/ld.so.cache", How::Open, "cc1", Kind::Other),
            ],
            ..Observed::default()
        };
        assert_eq!(
            told(&observed),
            [
                "Program /usr/local/bin/cmake 2 sh+make",
                "Headers /usr/include/boost 2 cc1plus",
                "Library /usr/lib/libz.so 1 ld",
                "File /usr/share/misc/x 1 file",
                "Directory /etc/ssl/certs 2 curl",
            ]
        );
    }

    #[test]
    fn a_directory_of_headers_is_not_called_a_header() {
        let told = |path, host| {
            told(&Observed { absent: vec![absent(path, How::Open, "cc1", host)], ..Observed::default() })
        };
        assert_eq!(told("/usr/include/zlib.h", Kind::Other), ["Header /usr/include/zlib.h 1 cc1"]);
        let bits = ["Headers /usr/include/x86_64-linux-gnu/bits 1 cc1"];
        assert_eq!(told("/usr/include/x86_64-linux-gnu/bits", Kind::Directory), bits);
        assert_eq!(told("/usr/include/x86_64-linux-gnu/bits/types.h", Kind::Other), bits);
    }

    #[test]
    fn many_files_of_a_directory_are_told_as_that() {
        let file = |name| absent(&format!("/usr/share/x/{name}"), How::Open, "x", Kind::Other);
        let observed = Observed { absent: ["a", "b", "c"].map(file).to_vec(), ..Observed::default() };
        assert_eq!(told(&observed), ["Directory /usr/share/x 3 x"]);
        let few = Observed { absent: ["a", "b"].map(file).to_vec(), ..Observed::default() };
        assert_eq!(told(&few).len(), 2);
    }

    #[test]
    fn paths_of_the_store_are_told_once_each_and_inputs_and_outputs_never() {
        let path = |base: &str, below: &str| {
            absent(&format!("/nix/store/{base}{below}"), How::Open, "sh", Kind::Other)
        };
        let observed = Observed {
            absent: vec![
                path(OUT, ""),
                path(VALID, "/a"),
                path(VALID, "/b"),
                path("no-digest", ""),
                path("00000000000000000000000000000003-main.c.gch", ""),
            ],
            ..Observed::default()
        };
        assert_eq!(told(&observed), [format!("StorePath /nix/store/{VALID}/a 2 sh")]);
    }

    #[test]
    fn hosts_are_told_by_name_where_that_is_known() {
        let address = |text: &str, name: Option<&str>| Address {
            text: text.to_owned(),
            name: name.map(str::to_owned),
            by: "wget".to_owned(),
        };
        let observed = Observed {
            addresses: vec![address("127.0.0.1:53", Some("example.org")), address("192.0.2.1:443", None)],
            ..Observed::default()
        };
        assert_eq!(told(&observed), ["HostName example.org 1 wget", "Address 192.0.2.1:443 1 wget"]);
    }
}
