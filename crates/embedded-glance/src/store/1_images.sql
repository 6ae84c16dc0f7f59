CREATE TABLE images (
    id TEXT PRIMARY KEY,
    name TEXT,
    disk_format TEXT,
    container_format TEXT,
    size INTEGER,
    virtual_size INTEGER,
    status TEXT NOT NULL,
    visibility TEXT NOT NULL,
    checksum TEXT,
    os_hash_value TEXT,
    os_hash_algo TEXT AS (CASE WHEN os_hash_value IS NULL THEN NULL ELSE 'sha512' END),
    min_disk INTEGER NOT NULL,
    min_ram INTEGER NOT NULL,
    owner TEXT,
    protected INTEGER NOT NULL,
    os_hidden INTEGER NOT NULL,
    -- Microseconds since 1970.
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
-- The default order of a list, which a page walks from its marker.
CREATE INDEX images_created_at ON images (created_at, id);
CREATE INDEX images_updated_at ON images (updated_at);
CREATE INDEX images_name ON images (name);
CREATE INDEX images_owner ON images (owner);

CREATE TABLE image_properties (
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    -- The place among the image's properties.
    position INTEGER NOT NULL,
    PRIMARY KEY (image_id, name)
) WITHOUT ROWID;
CREATE INDEX image_properties_value ON image_properties (name, value, image_id);

CREATE TABLE image_tags (
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    value TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (image_id, value)
) WITHOUT ROWID;
CREATE INDEX image_tags_value ON image_tags (value, image_id);

CREATE TABLE image_members (
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    member TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (image_id, member)
) WITHOUT ROWID;
CREATE INDEX image_members_member ON image_members (member, image_id);

-- The id of an image that is gone is never given again.
CREATE TABLE deleted_images (
    id TEXT PRIMARY KEY
) WITHOUT ROWID;
