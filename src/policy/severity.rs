//! Which of several refused effects is told: the gravest first. Part of the policy room.

use crate::sql::{Class, Effect};

/// Rank of a class, 0 the gravest. Every class has its own, so the choice never depends on the order of the effects.
pub(super) const fn rank(class: Class) -> u8 {
    match class {
        Class::Server => 0,
        Class::FunctionDangerous => 1,
        Class::DestroyTruncate => 2,
        Class::DestroyDeleteAll => 3,
        Class::DestroyUpdateAll => 4,
        Class::DdlDestructive => 5,
        Class::Privilege => 6,
        Class::SessionPinned => 7,
        Class::SessionIdentity => 8,
        Class::TransactionTwoPhase => 9,
        Class::Unparsed => 10,
        Class::Unknown => 11,
        Class::DdlLocking => 12,
        Class::DdlAdditive => 13,
        Class::Procedure => 14,
        Class::Maintenance => 15,
        Class::WriteDelete => 16,
        Class::WriteUpdate => 17,
        Class::WriteMerge => 18,
        Class::WriteInsert => 19,
        Class::WriteCopy => 20,
        Class::WriteLock => 21,
        Class::FunctionAdvisoryLock => 22,
        Class::FunctionVolatile => 23,
        Class::Notify => 24,
        Class::SessionSetting => 25,
        Class::Transaction => 26,
        Class::FunctionSafe => 27,
        Class::Read => 28,
    }
}

/// Sort key of a refused effect: its class's rank, then what the statement does before what else it names, then whatever makes two
/// effects of one class differ.
pub(super) fn key(effect: &Effect) -> (u8, bool, &Effect) {
    (rank(effect.class), effect.accompanies, effect)
}

/// Whether a class changes what the database holds, so that refusing it under a read-only policy is SQLSTATE 25006, as the
/// server itself answers in a read-only transaction.
pub(super) const fn is_write(class: Class) -> bool {
    match class {
        Class::WriteInsert
        | Class::WriteUpdate
        | Class::WriteDelete
        | Class::WriteMerge
        | Class::WriteCopy
        | Class::WriteLock
        | Class::DestroyDeleteAll
        | Class::DestroyUpdateAll
        | Class::DestroyTruncate
        | Class::DdlAdditive
        | Class::DdlLocking
        | Class::DdlDestructive
        | Class::Privilege
        | Class::Maintenance => true,
        Class::Read
        | Class::FunctionSafe
        | Class::FunctionVolatile
        | Class::FunctionAdvisoryLock
        | Class::FunctionDangerous
        | Class::SessionSetting
        | Class::SessionIdentity
        | Class::SessionPinned
        | Class::Transaction
        | Class::TransactionTwoPhase
        | Class::Procedure
        | Class::Server
        | Class::Notify
        | Class::Unknown
        | Class::Unparsed => false,
    }
}

/// Classes that a read-only policy cannot allow: writes, which the server's hold refuses, and whatever acts in spite of the hold
/// or would loosen it.
pub const fn contradicts_read_only(class: Class) -> bool {
    match class {
        Class::WriteInsert
        | Class::WriteUpdate
        | Class::WriteDelete
        | Class::WriteMerge
        | Class::WriteCopy
        | Class::WriteLock
        | Class::DestroyDeleteAll
        | Class::DestroyUpdateAll
        | Class::DestroyTruncate
        | Class::DdlAdditive
        | Class::DdlLocking
        | Class::DdlDestructive
        | Class::Privilege
        | Class::FunctionDangerous
        | Class::SessionPinned
        | Class::TransactionTwoPhase
        | Class::Maintenance
        | Class::Server
        | Class::Unknown
        | Class::Unparsed => true,
        Class::Read
        | Class::FunctionSafe
        | Class::FunctionVolatile
        | Class::FunctionAdvisoryLock
        | Class::SessionSetting
        | Class::SessionIdentity
        | Class::Transaction
        | Class::Procedure
        | Class::Notify => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_classes_share_a_rank() {
        let mut ranks: Vec<u8> = Class::ALL.iter().map(|class| rank(*class)).collect();
        ranks.sort_unstable();
        ranks.dedup();
        assert_eq!(ranks.len(), Class::ALL.len());
    }
}
