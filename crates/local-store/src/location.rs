//! Where a store is.

use std::path::{Path, PathBuf};

use store_path::{StoreDir, StorePath};

/// The directories of a store: the name its paths go by, and where its files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The logical store directory, which takes part in every digest.
    pub store_dir: StoreDir,
    /// The directory that holds the files.
    pub real_store: PathBuf,
    /// The database, locks and roots: `…/nix/var/nix`.
    pub state_dir: PathBuf,
    /// The build logs: `…/nix/var/log/nix`.
    pub log_dir: PathBuf,
    /// Another store, which is only read and whose paths are valid here, too.
    pub lower: Option<Box<Location>>,
}

impl Location {
    /// Returns the store that Nix uses too: `/nix`.
    pub fn system() -> Self {
        Self::below(Path::new("/"))
    }

    /// Returns a store whose files are below `root`, an absolute path, and whose paths begin with `/nix/store`.
    pub fn below(root: &Path) -> Self {
        Self {
            store_dir: StoreDir::default(),
            real_store: root.join("nix/store"),
            state_dir: root.join("nix/var/nix"),
            log_dir: root.join("nix/var/log/nix"),
            lower: None,
        }
    }

    /// Returns the same store above `lower`, which is only read.
    pub fn over(self, lower: Self) -> Self {
        Self { lower: Some(Box::new(lower)), ..self }
    }

    /// Whether the files are elsewhere than their names say, so that only a sandbox shows them by name.
    pub fn is_relocated(&self) -> bool {
        self.real_store != Path::new(self.store_dir.as_str())
    }

    /// Returns the directory by which Nix's programs know a store whose files are elsewhere.
    pub fn root(&self) -> Option<&Path> {
        let depth = Path::new(self.store_dir.as_str()).components().count() - 1;
        self.real_store.ancestors().nth(depth).filter(|_| self.is_relocated())
    }

    /// Returns where the files of `path` are.
    pub fn real_path(&self, path: &StorePath) -> PathBuf {
        self.real_store.join(path.to_string())
    }

    /// Returns where the files of `path` can be read: here, unless only the lower store has them.
    pub fn place_of(&self, path: &StorePath) -> PathBuf {
        let here = self.real_path(path);
        match &self.lower {
            Some(lower)
                if here.symlink_metadata().is_err() && lower.real_path(path).symlink_metadata().is_ok() =>
            {
                lower.real_path(path)
            }
            _ => here,
        }
    }

    /// Returns where the log of building `drv` is kept, but for the ending of a compressed one.
    pub fn log_path(&self, drv: &StorePath) -> PathBuf {
        let base = drv.to_string();
        let (shard, rest) = base.split_at(2);
        self.log_dir.join("drvs").join(shard).join(rest)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.databases().join("db.sqlite")
    }

    /// The directory of the databases, their schema and their locks.
    pub(crate) fn databases(&self) -> PathBuf {
        self.state_dir.join("db")
    }

    /// Space that is given up when the disk is full.
    pub(crate) fn reserved(&self) -> PathBuf {
        self.databases().join("reserved")
    }

    /// Beside Nix's database, and none of its business.
    pub(crate) fn records(&self) -> PathBuf {
        self.databases().join("store.sqlite")
    }

    /// Where collectors hear what is wanted.
    pub(crate) fn collector_socket(&self) -> PathBuf {
        self.state_dir.join("gc-socket/socket")
    }

    pub(crate) fn gc_roots(&self) -> PathBuf {
        self.state_dir.join("gcroots")
    }

    /// Returns where the permanent root `name` is.
    pub fn permanent_root(&self, name: &Path) -> PathBuf {
        self.gc_roots().join(name)
    }

    pub(crate) fn relocated_roots(&self) -> PathBuf {
        self.gc_roots().join("relocated")
    }

    /// One link to each file that equal files are linked to.
    pub(crate) fn links(&self) -> PathBuf {
        self.real_store.join(".links")
    }

    /// Not `active-builds`, where Nix removes whatever it does not find locked.
    pub(crate) fn running_builds(&self) -> PathBuf {
        self.state_dir.join("running-builds")
    }

    /// Returns where build directories are made, unless a setting says otherwise.
    pub fn builds(&self) -> PathBuf {
        self.state_dir.join("builds")
    }
}
