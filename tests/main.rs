//! Every command of `store`, on the real binary. One module a command.
