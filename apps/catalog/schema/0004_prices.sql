-- Prices and their history: a row says what a product costs from a moment on, in one currency.
-- A partition for each month is made ahead, by `python -m catalog.maintenance`; what has none yet, or
-- lies far back, is in the default partition.

CREATE TABLE prices (
    tenant_id bigint NOT NULL,
    product_id bigint NOT NULL,
    currency char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    valid_from timestamptz NOT NULL,
    amount numeric(12, 2) NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (product_id, currency, valid_from),
    FOREIGN KEY (product_id, tenant_id) REFERENCES products (id, tenant_id) ON DELETE CASCADE
) PARTITION BY RANGE (valid_from);

CREATE TABLE prices_default PARTITION OF prices DEFAULT;

ALTER TABLE prices ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_tenant ON prices TO catalog_app
    USING (tenant_id = current_setting('catalog.tenant')::bigint);

-- None on the partitions: a tenant's requests reach them through the table only.
GRANT SELECT, INSERT, UPDATE, DELETE ON prices TO catalog_app;
