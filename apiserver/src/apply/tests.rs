//! What the core of server-side apply promises, on objects of real kinds.
