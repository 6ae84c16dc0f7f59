-- A list either walks the index of its order, or looks at the few images that one filter leaves.
DROP INDEX images_updated_at;
DROP INDEX images_name;
DROP INDEX images_owner;

-- The orders, with what makes each of them total.
CREATE INDEX images_by_updated_at ON images (updated_at, created_at, id);
CREATE INDEX images_by_name ON images (COALESCE(name, ''), created_at, id);
CREATE INDEX images_by_status ON images (status, created_at, id);
CREATE INDEX images_by_container_format ON images (COALESCE(container_format, ''), created_at, id);
CREATE INDEX images_by_disk_format ON images (COALESCE(disk_format, ''), created_at, id);
CREATE INDEX images_by_size ON images (COALESCE(size, 0), created_at, id);

-- The filters.
CREATE INDEX images_name ON images (name);
CREATE INDEX images_owner ON images (owner);
CREATE INDEX images_visibility ON images (visibility);
CREATE INDEX images_protected ON images (protected);
CREATE INDEX images_os_hidden ON images (os_hidden);
CREATE INDEX images_disk_format ON images (disk_format);
CREATE INDEX images_container_format ON images (container_format);
CREATE INDEX images_size ON images (size);
CREATE INDEX images_virtual_size ON images (virtual_size);
CREATE INDEX images_checksum ON images (checksum);
CREATE INDEX images_os_hash_value ON images (os_hash_value);
CREATE INDEX images_min_disk ON images (min_disk);
CREATE INDEX images_min_ram ON images (min_ram);
