//! Every setting there is, in one table. Floor 1, pure.
