//! An image and its members, as Glance knows them.

/// What an image can be in; the names are the API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Queued,
    Saving,
    Active,
    Killed,
    Uploading,
    Importing,
    PendingDelete,
    Deactivated,
}

const STATUSES: [(Status, &str); 8] = [
    (Status::Queued, "queued"),
    (Status::Saving, "saving"),
    (Status::Active, "active"),
    (Status::Killed, "killed"),
    (Status::Uploading, "uploading"),
    (Status::Importing, "importing"),
    (Status::PendingDelete, "pending_delete"),
    (Status::Deactivated, "deactivated"),
];

impl Status {
    pub(super) fn parse(name: &str) -> Option<Self> {
        STATUSES
            .iter()
            .find(|(_, own)| *own == name)
            .map(|(status, _)| *status)
    }

    pub(super) fn name(self) -> &'static str {
        STATUSES
            .iter()
            .find(|(status, _)| *status == self)
            .map_or("", |(_, name)| name)
    }
}

/// Who may see an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visibility {
    Public,
    Community,
    Shared,
    Private,
}

const VISIBILITIES: [(Visibility, &str); 4] = [
    (Visibility::Public, "public"),
    (Visibility::Community, "community"),
    (Visibility::Shared, "shared"),
    (Visibility::Private, "private"),
];

impl Visibility {
    pub(super) fn parse(name: &str) -> Option<Self> {
        VISIBILITIES
            .iter()
            .find(|(_, own)| *own == name)
            .map(|(visibility, _)| *visibility)
    }

    pub(super) fn name(self) -> &'static str {
        VISIBILITIES
            .iter()
            .find(|(own, _)| *own == self)
            .map_or("", |(_, name)| name)
    }
}

/// An image's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) disk_format: Option<String>,
    pub(super) container_format: Option<String>,
    /// Bytes.
    pub(super) size: Option<i64>,
    /// Bytes.
    pub(super) virtual_size: Option<i64>,
    pub(super) status: Status,
    pub(super) visibility: Visibility,
    /// MD5 of the data, in hex.
    pub(super) checksum: Option<String>,
    /// SHA-512 of the data, in hex.
    pub(super) os_hash_value: Option<String>,
    /// GiB.
    pub(super) min_disk: i64,
    /// MiB.
    pub(super) min_ram: i64,
    pub(super) owner: Option<String>,
    pub(super) protected: bool,
    pub(super) os_hidden: bool,
    /// Microseconds since 1970.
    pub(super) created_at: i64,
    /// Microseconds since 1970.
    pub(super) updated_at: i64,
    pub(super) properties: Properties,
    pub(super) tags: Vec<String>,
}

impl Image {
    /// An image that has no data yet.
    pub(super) fn queued(id: String, owner: Option<String>, now: i64) -> Self {
        Self {
            id,
            name: None,
            disk_format: None,
            container_format: None,
            size: None,
            virtual_size: None,
            status: Status::Queued,
            visibility: Visibility::Shared,
            checksum: None,
            os_hash_value: None,
            min_disk: 0,
            min_ram: 0,
            owner,
            protected: false,
            os_hidden: false,
            created_at: now,
            updated_at: now,
            properties: Properties::default(),
            tags: Vec::new(),
        }
    }

    /// Tags are a set: each stands once, where it first stood.
    pub(super) fn set_tags(&mut self, tags: Vec<String>) {
        self.tags.clear();
        for tag in tags {
            if !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
    }
}

/// Additional properties, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties(Vec<(String, String)>);

impl Properties {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let entry = self.0.iter().find(|(own, _)| own == name);
        entry.map(|(_, value)| value.as_str())
    }

    pub(super) fn set(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(own, _)| *own == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Adds a property that is not there yet.
    pub(super) fn append(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    /// Whether there was one.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(own, _)| own != name);
        self.0.len() < before
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A project with which an image is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) image_id: String,
    /// The project.
    pub(super) project: String,
    pub(super) status: MemberStatus,
    /// Microseconds since 1970.
    pub(super) created_at: i64,
    /// Microseconds since 1970.
    pub(super) updated_at: i64,
}

/// What the member says to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberStatus {
    Pending,
    Accepted,
    Rejected,
}

impl MemberStatus {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "pending" => Some(Self::Pending),
            "accepted" => Some(Self::Accepted),
            "rejected" => Some(Self::Rejected),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}
