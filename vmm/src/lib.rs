//! The VMM: KVM, guest memory, the hostcall server and the jail.
