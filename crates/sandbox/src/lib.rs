//! Plans of a sandbox, and the launcher that carries them out. Floor 0, kernel.
