//! The images in SQLite: opening, schema migrations, transactions.

pub(super) mod images;
pub(super) mod list;
pub(super) mod members;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::Fault;

/// Each entry takes a database from the version of its position to the next one. Entries are only
/// ever added.
const MIGRATIONS: [&str; 2] = [
    include_str!("1_images.sql"),
    include_str!("2_list_indexes.sql"),
];

/// How long a call waits for another process that writes into the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database. Calls take turns: SQLite has one writer anyway, and a page of a thousand images
/// takes a few milliseconds.
pub(super) struct Store {
    connection: Mutex<Connection>,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite could not open or migrate the file.
    #[error("cannot open the image database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A newer release wrote the file.
    #[error(
        "the image database has schema version {found}, this release knows up to {known}; run the \
         later release, or name another file"
    )]
    TooNew {
        /// The file's version.
        found: u32,
        /// The latest version that this release can read.
        known: u32,
    },
}

impl Store {
    /// Opens a file, or an empty database in memory.
    pub(super) fn open(file: Option<&Path>) -> Result<Self, OpenError> {
        let mut connection = match file {
            Some(file) => Connection::open(file)?,
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Readers of the file do not wait for a writer, and a commit survives a power cut.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        migrate(&mut connection)?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    /// Runs a call in a transaction, which is kept when it succeeds and undone when it fails.
    pub(super) fn write<T>(
        &self,
        call: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let outcome = call(&transaction)?;
        transaction.commit()?;
        Ok(outcome)
    }

    /// Runs a call that sees one state of the database and changes nothing.
    pub(super) fn read<T>(
        &self,
        call: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        call(&transaction)
    }

    /// A call that panicked has undone its transaction, so the connection is good.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let mut known = 0;
    for migration in MIGRATIONS {
        known += 1;
        if known > found {
            transaction.execute_batch(migration)?;
        }
    }
    if found > known {
        return Err(OpenError::TooNew { found, known });
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_images_and_is_migrated_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("images.sqlite");
        let image = crate::model::Image::queued("i".into(), None, 1);
        Store::open(Some(&file))
            .unwrap()
            .write(|c| images::insert(c, &image))
            .unwrap();
        let found = Store::open(Some(&file))
            .unwrap()
            .read(|c| images::find(c, "i"))
            .unwrap();
        assert_eq!(found, Some(image));
    }

    #[test]
    fn a_file_of_an_earlier_release_is_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("images.sqlite");
        let connection = Connection::open(&file).unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        let image = crate::model::Image::queued("i".into(), None, 1);
        images::insert(&connection, &image).unwrap();
        drop(connection);
        let store = Store::open(Some(&file)).unwrap();
        let found = store.read(|c| images::find(c, "i")).unwrap();
        assert_eq!(found, Some(image));
        let version = store
            .read(|c| Ok(c.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))?))
            .unwrap();
        assert_eq!(version, 2);
    }

    #[test]
    fn a_file_of_a_later_release_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("images.sqlite");
        Connection::open(&file)
            .unwrap()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        assert!(matches!(
            Store::open(Some(&file)),
            Err(OpenError::TooNew { found: 99, .. })
        ));
    }

    #[test]
    fn a_call_that_fails_leaves_no_trace() {
        let store = Store::open(None).unwrap();
        let image = crate::model::Image::queued("i".into(), None, 1);
        let failed: Result<(), Fault> = store.write(|connection| {
            images::insert(connection, &image)?;
            Err(Fault::bad_request("no"))
        });
        assert!(failed.is_err());
        assert_eq!(
            store
                .read(|connection| images::find(connection, "i"))
                .unwrap(),
            None
        );
    }
}
