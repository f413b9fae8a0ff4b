//! The words that the finder looks at, recognised once per word by a hash table made at compile time.

macro_rules! keywords {
    ($($name:ident)*) => {
        /// A word that decides something in a statement. Every other word is [`Keyword::NONE`].
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "SQL spells its words so")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u16)]
        pub(super) enum Keyword {
            /// Not a word of the table.
            NONE,
            $(#[doc = stringify!($name)] $name,)*
        }

        const KEYWORDS: &[(Keyword, &str)] = &[$((Keyword::$name, stringify!($name)),)*];
    };
}

keywords! {
    ADD AGGREGATE ALGORITHM ALL ALTER ANALYZE AS ATOMIC BACKUP BATCH BEFORE BEGIN BINARY BINLOG BODY BY CACHE CALL CASCADE CASE
    CATALOG CHANGE CHECK CHECKSUM CLONE CLOSE CLUSTERING COLUMN COLUMNS COMMENT COMMIT COMPONENT CONCURRENT CONDITION
    CONSISTENT CONTINUE CONVERT CREATE CROSS CURRENT_ROLE CURRENT_USER CURSOR CYCLE DATA DATABASE DATABASES DEALLOCATE
    DECLARE DEFAULT DEFINER DELAYED DELETE DESC DESCRIBE DISTINCT DO DROP DUAL DUALITY DUPLICATE ELSE ELSEIF EMPTY END
    ENGINE ERRORS EVENT EVENTS EVERY EXCEPT EXCHANGE EXECUTE EXISTS EXIT EXPLAIN EXTENDED FETCH FILE FILTER FLUSH FOLLOWING
    FOLLOWS FOR FORCE FORMAT FROM FULL FULLTEXT FUNCTION GET GRANT GRANTS GROUP GROUP_REPLICATION GTID HANDLER HAVING HELP
    HIGH_PRIORITY HISTORY HOST IF IGNORE IMMEDIATE IMPORT IN INDEX INDEXES INFILE INNER INSERT INSTALL INSTANCE
    INTERSECT INTO IS ITERATE JOIN JSON JSON_TABLE JSON_OBJECT KEY KEYS KILL LANGUAGE LASTVAL LATERAL LEAVE LEFT LIBRARY LIKE
    LIMIT LOAD LOCAL LOCK LOGFILE LOGS LOOP LOW_PRIORITY MASTER MATERIALIZED MIGRATE MINUS NATURAL NEXT NEXTVAL NO NOT NOWAIT
    NO_WRITE_TO_BINLOG NULL OF OFFLINE OFFSET OJ ON ONLINE OPEN OPTIMIZE OPTION OR ORDER OUTER PACKAGE PARTITION PASSWORD PERSIST
    PLUGIN PORTION PRECEDES PREPARE PREVIOUS PRIVILEGES PROCEDURE PROCESSLIST PROXY PURGE QUALIFY QUICK READ RECOVER RECURSIVE
    REFERENCE REFERENCES RELATIONAL RELAY RELEASE RENAME REPAIR REPEAT REPLACE REPLICA REPLICAS REPLICATION RESET RESIGNAL RESOURCE
    RESTART RESTRICT RESUME RETURN RETURNING RETURNS REVOKE RIGHT ROLE ROLLBACK ROUTINE ROW SAVEPOINT SCHEMA SCHEMAS SECURITY
    SELECT SEQUENCE SERVER SESSION GLOBAL SET SETVAL SHOW SHUTDOWN SIGNAL SLAVE SNAPSHOT SONAME SOURCE SPATIAL SQL SQLSTATE START STATEMENT
    STATUS STOP STRAIGHT_JOIN SUSPEND SYSTEM SYSTEM_TIME TABLE TABLES TABLESAMPLE TABLESPACE TEMPORARY THEN TO TRANSACTION TRIGGER
    TRUNCATE TYPE UNDO UNINSTALL UNION UNIQUE UNLOCK UNTIL UPDATE UPGRADE USE USER USING VALUE VALUES VARIABLES VECTOR VIEW
    WAIT WARNINGS WHEN WHERE WHILE WINDOW WITH WORK WRITE XA XML ZEROFILL AFTER EACH SCHEDULE INVOKER STORED PHASE MIGRATION ONE
    RELOAD MUTEX DIAGNOSTICS HISTOGRAM CHANNEL COUNT CODE PROFILE PROFILES PLUGINS ENGINES CHARACTER COLLATION CONTRIBUTORS
    AUTHORS ONLY VERSIONING CHAIN BLOCK STAGE HOSTS FIELDS CHARSET
    COMPRESSION EXTERNAL ROTATE KEYRING TRADITIONAL CONNECTION
    IDENTIFIED PAGE CURRENT STATISTICS PARSE_TREE LOG MASKING RELAYLOG RAISE
}

/// Slots of the hash table; more than twice the number of words, and a power of two.
const SLOTS: usize = 1024;
/// The longest word of the table.
const LONGEST: usize = 32;

const fn hash(bytes: &[u8]) -> usize {
    let mut sum: u32 = 0x811C_9DC5;
    let mut at = 0;
    while at < bytes.len() {
        sum = (sum ^ bytes[at].to_ascii_uppercase() as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (sum ^ (sum >> 15)) as usize & (SLOTS - 1)
}

const fn table() -> [u16; SLOTS] {
    let mut slots = [u16::MAX; SLOTS];
    let mut at = 0;
    while at < KEYWORDS.len() {
        let mut slot = hash(KEYWORDS[at].1.as_bytes());
        while slots[slot] != u16::MAX {
            slot = (slot + 1) & (SLOTS - 1);
        }
        slots[slot] = at as u16;
        at += 1;
    }
    slots
}

static TABLE: [u16; SLOTS] = table();

/// The keyword that `word` spells in any case.
pub(super) fn keyword(word: &[u8]) -> Keyword {
    if word.len() > LONGEST || word.len() < 2 {
        return Keyword::NONE;
    }
    let mut slot = hash(word);
    loop {
        let index = TABLE[slot];
        let Some((keyword, text)) = KEYWORDS.get(usize::from(index)) else {
            return Keyword::NONE;
        };
        if text.as_bytes().eq_ignore_ascii_case(word) {
            return *keyword;
        }
        slot = (slot + 1) & (SLOTS - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_table_is_found_in_any_case_and_no_other() {
        for (word, text) in KEYWORDS {
            assert_eq!(keyword(text.as_bytes()), *word);
            assert_eq!(keyword(text.to_ascii_lowercase().as_bytes()), *word);
        }
        for other in ["", "a", "selec", "selects", "customers", "\u{fc}ber"] {
            assert_eq!(keyword(other.as_bytes()), Keyword::NONE, "{other}");
        }
        assert!(KEYWORDS.len() * 2 < SLOTS);
    }
}
