//! Rules as netlink messages.
