-- Products, and what finds them: words, likeness of names, and meaning.
-- The extensions pg_trgm and vector must be there.

CREATE TABLE products (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants,
    sku text NOT NULL,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    category_id bigint NOT NULL REFERENCES categories,
    attributes jsonb NOT NULL DEFAULT '{}',
    embedding vector(256) NOT NULL,
    document tsvector NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('english', name), 'A')
        || setweight(to_tsvector('english', description), 'B')
    ) STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, sku),
    UNIQUE (id, tenant_id)
);

CREATE INDEX ON products (category_id);
CREATE INDEX ON products USING gin (document);
CREATE INDEX ON products USING gin (name gin_trgm_ops);
CREATE INDEX ON products USING hnsw (embedding vector_cosine_ops);

ALTER TABLE products ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_tenant ON products TO catalog_app
    USING (tenant_id = current_setting('catalog.tenant')::bigint);

GRANT SELECT, INSERT, UPDATE, DELETE ON products TO catalog_app;
