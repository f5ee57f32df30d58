//! Programs of the host that a build may run, with everything they need to start.
//!
//! A dynamic program needs its interpreter at the path it names, and each library where that
//! interpreter looks first without `/etc/ld.so.cache`. Which directories those are differs between
//! distributions and is written in the interpreter itself, so it is read there.

#![expect(clippy::disallowed_methods, reason = "reads programs of the host")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use goblin::container::Ctx;
use goblin::elf::program_header::PT_INTERP;
use goblin::elf::{Elf, ProgramHeader};

/// One file of the host and where a build sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFile {
    /// Where it is on the host, with every symlink resolved.
    pub source: PathBuf,
    /// Where the build sees it.
    pub target: PathBuf,
}

/// Why a program of the host cannot be given to a build.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file cannot be read.
    #[error("cannot read `{}` of the host", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program needs a library that is in no place its loader looks.
    #[error(
        "cannot find the library `{library}` that `{}` needs; \
         name it, or the directory it is in, in `build-chroot-dirs`",
        program.display()
    )]
    Library {
        /// What is missing.
        library: String,
        /// What needs it.
        program: PathBuf,
    },
}

/// Directories where loaders look when they say nothing readable about it.
const USUAL: &[&str] = &["/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// A static busybox in its usual places, else the host's `sh`: what `sandbox-shell = auto` takes.
pub fn find_shell() -> Option<PathBuf> {
    const BUSYBOXES: &[&str] =
        &["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static", "/usr/lib/busybox/bin/busybox"];
    let is_static = |path: &&&str| has_interpreter(Path::new(path)).is_ok_and(|has| has == Some(false));
    BUSYBOXES.iter().find(is_static).map(PathBuf::from).or_else(|| {
        let shell = PathBuf::from("/bin/sh");
        shell.exists().then_some(shell)
    })
}

/// Enough of a program to hold its header and program headers; programs are large and mostly not needed.
const HEAD_LEN: u64 = 64 * 1024;

/// Whether an ELF program names an interpreter; `None` for any other file.
fn has_interpreter(program: &Path) -> Result<Option<bool>, HostError> {
    let mut head = Vec::with_capacity(HEAD_LEN as usize);
    let file = fs::File::open(program).and_then(|file| file.take(HEAD_LEN).read_to_end(&mut head));
    file.map_err(|source| HostError::Read { path: program.to_owned(), source })?;
    let Ok(header) = Elf::parse_header(&head) else { return Ok(None) };
    let (Ok(container), Ok(endianness)) = (header.container(), header.endianness()) else { return Ok(None) };
    let (offset, count) = (header.e_phoff as usize, header.e_phnum as usize);
    let headers = ProgramHeader::parse(&head, offset, count, Ctx::new(container, endianness));
    Ok(headers.ok().map(|headers| headers.iter().any(|header| header.p_type == PT_INTERP)))
}

/// `program` seen at `target`, then its interpreter and its whole closure of needed libraries.
///
/// A file that is no ELF program stands for itself alone.
///
/// # Errors
/// When a file cannot be read or a library is nowhere.
pub fn program(program: &Path, target: &Path) -> Result<Vec<HostFile>, HostError> {
    let source = resolve(program)?;
    let mut files = vec![HostFile { source: source.clone(), target: target.to_owned() }];
    if has_interpreter(&source)? != Some(true) {
        return Ok(files);
    }
    let bytes = read(&source)?;
    let Ok(elf) = Elf::parse(&bytes) else { return Ok(files) };
    let Some(interpreter) = elf.interpreter.map(PathBuf::from) else { return Ok(files) };
    let loader_source = resolve(&interpreter)?;
    let loader = Loader::read(&loader_source, &elf)?;
    files.push(HostFile { source: loader_source, target: interpreter });
    files.extend(loader.libraries(&source)?);
    Ok(files)
}

/// What is known of a program's interpreter.
struct Loader {
    /// Where it looks, first place first.
    directories: Vec<PathBuf>,
    /// The kind of file it loads.
    kind: (bool, u16),
}

impl Loader {
    fn read(path: &Path, program: &Elf<'_>) -> Result<Self, HostError> {
        let mut directories = directories_in(&read(path)?);
        if directories.is_empty() {
            directories = USUAL.iter().map(PathBuf::from).collect();
        }
        Ok(Self { directories, kind: (program.is_64, program.header.e_machine) })
    }

    /// The closure of needed libraries of `program`, breadth first, each once.
    fn libraries(&self, program: &Path) -> Result<Vec<HostFile>, HostError> {
        let mut found: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut queue = VecDeque::from([program.to_owned()]);
        let mut files = Vec::new();
        while let Some(object) = queue.pop_front() {
            let bytes = read(&object)?;
            let Ok(elf) = Elf::parse(&bytes) else { continue };
            let own = search_path(&elf, &object);
            for library in &elf.libraries {
                if !seen.insert((*library).to_owned()) {
                    continue;
                }
                let Some(file) = self.find(library, &own) else {
                    return Err(HostError::Library { library: (*library).to_owned(), program: object });
                };
                if found.insert(file.target.clone(), file.source.clone()).is_none() {
                    queue.push_back(file.source.clone());
                    files.push(file);
                }
            }
        }
        Ok(files)
    }

    /// Where the loader would find `library` on the host, and where it must be to be found first.
    fn find(&self, library: &str, own: &[PathBuf]) -> Option<HostFile> {
        if library.contains('/') {
            return Some(HostFile {
                source: self.matching(Path::new(library))?,
                target: PathBuf::from(library),
            });
        }
        for directory in own {
            let target = directory.join(library);
            if let Some(source) = self.matching(&target) {
                return Some(HostFile { source, target });
            }
        }
        let configured = configured_directories();
        let source = self
            .directories
            .iter()
            .chain(&configured)
            .find_map(|directory| self.matching(&directory.join(library)))?;
        let first =
            self.directories.iter().find(|path| !path.starts_with("/usr")).or(self.directories.first())?;
        Some(HostFile { source, target: first.join(library) })
    }

    /// `path` resolved, if a library of this loader's kind is there.
    fn matching(&self, path: &Path) -> Option<PathBuf> {
        let source = fs::canonicalize(path).ok()?;
        let bytes = fs::read(&source).ok()?;
        let elf = Elf::parse(&bytes).ok()?;
        ((elf.is_64, elf.header.e_machine) == self.kind).then_some(source)
    }
}

/// `DT_RUNPATH`, or `DT_RPATH` where that is absent, with `$ORIGIN` replaced.
fn search_path(elf: &Elf<'_>, object: &Path) -> Vec<PathBuf> {
    let origin = object.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    let paths = if elf.runpaths.is_empty() { &elf.rpaths } else { &elf.runpaths };
    paths
        .iter()
        .flat_map(|path| path.split(':'))
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(path.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin)))
        .collect()
}

/// The library directories that a loader has compiled in, in its order.
///
/// glibc keeps them as strings that end in `/`, one after another; musl as one with colons.
fn directories_in(loader: &[u8]) -> Vec<PathBuf> {
    let strings: Vec<&[u8]> =
        loader.split(|byte| *byte == 0).filter(|text| text.first() == Some(&b'/')).collect();
    let plain = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/_-.+".contains(byte));
    let is_glibc = |text: &&&[u8]| {
        text.len() > 1
            && text.ends_with(b"/")
            && plain(text)
            && text.split(|byte| *byte == b'/').any(|part| part.starts_with(b"lib"))
    };
    let glibc: Vec<PathBuf> = strings.iter().filter(is_glibc).map(|text| directory(text)).collect();
    if !glibc.is_empty() {
        return unique(glibc);
    }
    let is_musl = |text: &&&[u8]| {
        text.contains(&b':')
            && text.split(|byte| *byte == b':').all(|part| part.starts_with(b"/") && plain(part))
    };
    let musl = strings.iter().find(is_musl);
    unique(musl.into_iter().flat_map(|text| text.split(|byte| *byte == b':')).map(directory).collect())
}

fn directory(text: &[u8]) -> PathBuf {
    let text = text.strip_suffix(b"/").unwrap_or(text);
    PathBuf::from(std::ffi::OsStr::from_bytes(text))
}

fn unique(mut directories: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    directories.retain(|directory| seen.insert(directory.clone()));
    directories
}

/// Directories that the administrator added to the loader's own, which only its cache knows.
fn configured_directories() -> Vec<PathBuf> {
    let mut texts = vec![fs::read_to_string("/etc/ld.so.conf").unwrap_or_default()];
    let mut included: Vec<PathBuf> = fs::read_dir("/etc/ld.so.conf.d")
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    included.sort();
    texts.extend(included.iter().map(|path| fs::read_to_string(path).unwrap_or_default()));
    texts
        .iter()
        .flat_map(|text| text.lines())
        .map(str::trim)
        .filter(|line| line.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn resolve(path: &Path) -> Result<PathBuf, HostError> {
    fs::canonicalize(path).map_err(|source| HostError::Read { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, HostError> {
    fs::read(path).map_err(|source| HostError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_directories_of_glibc_in_their_order() {
        let loader =
            b"\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0/etc/ld.so.cache\0";
        let directories = directories_in(loader);
        assert_eq!(directories[0], Path::new("/lib/x86_64-linux-gnu"));
        assert_eq!(directories.len(), 4);
    }

    #[test]
    fn reads_the_directories_of_musl() {
        let directories = directories_in(b"x\0/lib:/usr/local/lib:/usr/lib\0y");
        assert_eq!(directories, ["/lib", "/usr/local/lib", "/usr/lib"].map(PathBuf::from));
    }

    #[test]
    fn the_shell_of_the_host_comes_with_all_it_needs() {
        let Some(shell) = find_shell() else { return };
        let files = program(&shell, Path::new("/bin/sh")).unwrap();
        assert_eq!(files[0].target, Path::new("/bin/sh"));
        assert!(files.iter().all(|file| file.source.is_absolute() && file.target.is_absolute()));
    }
}
