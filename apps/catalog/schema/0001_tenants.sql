-- Tenants, and the role as which their requests read and write.

CREATE TABLE tenants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    -- Of a random key: a plain hash is enough, and finds its tenant by an index.
    key_sha256 bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Roles belong to the whole server, so it may be there, or be made by somebody else right now.
DO $$
BEGIN
    CREATE ROLE catalog_app NOLOGIN NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

DO $$
BEGIN
    EXECUTE format('GRANT catalog_app TO %I', current_user);
EXCEPTION WHEN unique_violation OR internal_error THEN
    NULL;  -- somebody else grants it right now ("tuple concurrently updated")
END
$$;
