//! Fixtures, scratch stores and a harness for tests.
