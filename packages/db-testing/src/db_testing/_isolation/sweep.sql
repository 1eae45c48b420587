-- The sweep: what a connection of its own knows of a worker's database, and how it restores it.
--
-- Everything lives in this session's temporary schema, depends on nothing of the application's (rows
-- are kept as text, relations by oid), and is gone with the session.

CREATE TEMP TABLE db_testing_relations (
    relation oid PRIMARY KEY,
    name text NOT NULL,
    kind "char" NOT NULL,       -- r: table, m: materialised view, S: sequence, c: catalog,
                                -- g: catalog of the whole server
    writes bigint NOT NULL,     -- of the server's counters, those that any change moves
    rows bigint NOT NULL,       -- that it holds when a test begins; -1 if it cannot be read
    pages bigint NOT NULL,      -- of the table itself
    size bigint NOT NULL,       -- in pages, with those of large values, which stand beside it
    kept boolean NOT NULL,      -- whether its rows stand in db_testing_rows
    twice boolean NOT NULL,     -- whether some of them are alike
    columns text,               -- those that can be inserted
    fields text,                -- the same, of a row named r
    referenced boolean NOT NULL,
    stubborn text,              -- why it cannot be swept
    last bigint,                -- of a sequence
    called boolean
) WITH (fillfactor = 50);

CREATE TEMP TABLE db_testing_rows (relation oid NOT NULL, image text NOT NULL);
CREATE INDEX ON db_testing_rows (relation);

-- Of each relation, what TRUNCATE, REFRESH, CLUSTER and REINDEX leave as it is.
CREATE TEMP TABLE db_testing_classes (relation oid PRIMARY KEY, image text NOT NULL);

CREATE FUNCTION pg_temp.db_testing_writes(relation oid, kind "char") RETURNS bigint
LANGUAGE sql STABLE RETURN CASE kind
    WHEN 'S' THEN pg_stat_get_blocks_fetched(relation)
    ELSE pg_stat_get_tuples_inserted(relation) + pg_stat_get_tuples_updated(relation)
        + pg_stat_get_tuples_deleted(relation)
END;

-- What this session has done that the server does not count yet.
CREATE FUNCTION pg_temp.db_testing_own_writes(relation oid, kind "char") RETURNS bigint
LANGUAGE sql VOLATILE RETURN CASE kind
    WHEN 'S' THEN pg_stat_get_xact_blocks_fetched(relation)
    ELSE pg_stat_get_xact_tuples_inserted(relation) + pg_stat_get_xact_tuples_updated(relation)
        + pg_stat_get_xact_tuples_deleted(relation)
END;

CREATE FUNCTION pg_temp.db_testing_class(c pg_class) RETURNS text
LANGUAGE sql STABLE RETURN ROW(
    c.relname, c.relnamespace, c.reltype, c.reloftype, c.relowner, c.relam, c.reltablespace,
    c.relhasindex, c.relpersistence, c.relkind, c.relnatts, c.relchecks, c.relhasrules,
    c.relhastriggers, c.relhassubclass, c.relrowsecurity, c.relforcerowsecurity, c.relispopulated,
    c.relreplident, c.relispartition, c.relacl, c.reloptions, c.relpartbound)::text;

-- The first transaction that has not ended yet, of those in the database or of nobody is known where,
-- prepared ones too; or the next one to begin. What it and later ones write is seen from now on.
CREATE FUNCTION pg_temp.db_testing_first(database oid) RETURNS xid
LANGUAGE sql VOLATILE AS $$
    WITH now (snapshot) AS MATERIALIZED (SELECT pg_current_snapshot())
    SELECT open FROM (
        SELECT pg_snapshot_xmax(snapshot)::xid FROM now
        UNION ALL
        SELECT running::xid FROM now, pg_snapshot_xip(snapshot) AS running
        WHERE NOT EXISTS (SELECT FROM pg_stat_get_activity(NULL)
                WHERE datid <> database AND backend_xid = running::xid)
            AND NOT EXISTS (SELECT FROM pg_prepared_xact()
                WHERE dbid <> database AND transaction = running::xid)
    ) AS t (open)
    ORDER BY age(open) DESC LIMIT 1
$$;

CREATE FUNCTION pg_temp.db_testing_newer(of_row xid, first xid, known xid[]) RETURNS boolean
LANGUAGE sql STABLE RETURN age(of_row) <= age(first) AND of_row <> ALL (known);

-- Learn the state to which tests are undone, once, from one snapshot of rows and of counters. Rows of
-- tables of a size of up to `largest` are kept, of the smallest first, until there are `most`.
--
-- Arrays are of text and of oid, which asyncpg knows: it asks for others, once on each connection.
CREATE FUNCTION pg_temp.db_testing_learn(
    largest bigint,
    most bigint,
    OUT database oid,
    OUT first xid,              -- what this one and later ones have written is a test's
    OUT known text[],           -- but for these, which had ended, and for this one
    OUT at timestamptz,
    OUT touched text            -- to what somebody has written, since the server has counted
)
LANGUAGE plpgsql AS $$
DECLARE
    it record;
    seen record;
    replica boolean := current_setting('session_replication_role') = 'replica';
    kept bigint := 0;
    path text := current_setting('search_path');
    ended xid[] := ARRAY[pg_current_xact_id()::xid];
BEGIN
    SELECT oid, pg_temp.db_testing_first(oid), transaction_timestamp()
    INTO database, first, at FROM pg_database WHERE datname = current_database();
    IF current_setting('track_counts') = 'off' THEN
        RAISE EXCEPTION 'track_counts is off';
    END IF;
    INSERT INTO pg_temp.db_testing_relations
    SELECT c.oid, format('%I.%I', n.nspname, c.relname),
        CASE WHEN c.relisshared THEN 'g' WHEN n.nspname = 'pg_catalog' THEN 'c' ELSE c.relkind END,
        0, 0, main.pages,
        -- To open what stands beside each table takes its time, and without a page nothing does.
        main.pages + CASE WHEN main.pages > 0 AND c.reltoastrelid <> 0
            THEN pg_relation_size(c.reltoastrelid) / 8192 ELSE 0 END,
        false, false,
        a.columns, a.fields,
        c.oid IN (SELECT confrelid FROM pg_constraint WHERE contype = 'f' AND conrelid <> confrelid),
        CASE
            WHEN c.relkind <> 'r' OR n.nspname = 'pg_catalog' THEN NULL
            WHEN EXISTS (SELECT FROM pg_trigger t
                WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('A', 'R'))
                THEN 'triggers that always fire'
            WHEN EXISTS (SELECT FROM pg_rewrite w
                WHERE w.ev_class = c.oid AND (NOT replica OR w.ev_enabled IN ('A', 'R')))
                THEN 'rules'
            WHEN a.columns IS NULL THEN 'no column that can be inserted'
            WHEN NOT replica AND c.relforcerowsecurity THEN 'row-level security that binds its owner'
            WHEN NOT replica AND NOT pg_has_role(c.relowner, 'USAGE') THEN 'another owner'
        END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        SELECT CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) / 8192 ELSE 0 END
        OFFSET 0  -- is computed once
    ) AS main (pages)
    CROSS JOIN LATERAL (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum),
            string_agg('(r).' || quote_ident(attname), ', ' ORDER BY attnum)
        FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
            AND c.relkind = 'r' AND n.nspname <> 'pg_catalog'
    ) AS a (columns, fields)
    WHERE c.relpersistence <> 't' AND CASE n.nspname
        WHEN 'pg_catalog' THEN c.relkind = 'r' AND CASE WHEN c.relisshared
            THEN c.relname IN ('pg_database', 'pg_db_role_setting', 'pg_shdescription', 'pg_authid',
                'pg_auth_members', 'pg_subscription')
            ELSE c.relname NOT IN ('pg_statistic', 'pg_statistic_ext_data')
        END
        WHEN 'information_schema' THEN false
        ELSE c.relkind IN ('r', 'm', 'S') AND n.nspname !~ '^pg_'
    END;
    PERFORM set_config('search_path', current_setting('db_testing.path'), true);
    FOR it IN SELECT * FROM pg_temp.db_testing_relations
        WHERE kind = 'c' OR kind <> 'g' AND pages > 0 ORDER BY size
    LOOP
        IF NOT has_table_privilege(it.relation, 'SELECT') THEN
            UPDATE pg_temp.db_testing_relations SET rows = -1 WHERE relation = it.relation;
            CONTINUE;
        END IF;
        seen := pg_temp.db_testing_count(it.name, first, ended);
        it.rows := seen.rows;
        IF seen.newer > 0 THEN
            ended := ended || pg_temp.db_testing_writers(it.name, first, ended);
        END IF;
        IF it.rows > 0 AND it.kind <> 'c' AND it.size <= least(largest, most - kept) THEN
            it.kept := true;
            kept := kept + it.size;
            EXECUTE format('INSERT INTO pg_temp.db_testing_rows'
                ' SELECT %s, textin(record_out(db_testing_row)) FROM ONLY %s AS db_testing_row',
                it.relation, it.name);
            it.twice := EXISTS (SELECT FROM pg_temp.db_testing_rows AS r
                WHERE r.relation = it.relation GROUP BY image HAVING count(*) > 1);
        END IF;
        UPDATE pg_temp.db_testing_relations SET rows = it.rows, kept = it.kept, twice = it.twice
        WHERE relation = it.relation;
    END LOOP;
    PERFORM set_config('search_path', path, true);
    FOR it IN SELECT name FROM pg_temp.db_testing_relations
        WHERE kind = 'g' AND has_table_privilege(relation, 'SELECT')
    LOOP
        ended := ended || pg_temp.db_testing_writers(it.name, first, ended);
    END LOOP;
    known := ended::text[];
    FOR it IN
        SELECT string_agg(format('SELECT %s::oid, last_value, is_called FROM %s', relation, name),
            ' UNION ALL ') AS name
        FROM (SELECT *, row_number() OVER () / 100 AS batch FROM pg_temp.db_testing_relations) AS r
        WHERE kind = 'S' GROUP BY batch
    LOOP
        EXECUTE format('WITH s (relation, last, called) AS MATERIALIZED (%s)'
            ' UPDATE pg_temp.db_testing_relations r SET last = s.last, called = s.called'
            ' FROM s WHERE r.relation = s.relation', it.name);
    END LOOP;
    INSERT INTO pg_temp.db_testing_classes
    SELECT oid, pg_temp.db_testing_class(c) FROM pg_class AS c WHERE relpersistence <> 't';
    SELECT name INTO touched FROM pg_temp.db_testing_relations
    WHERE kind IN ('r', 'c') AND pg_temp.db_testing_writes(relation, kind) > 0
    ORDER BY kind DESC LIMIT 1;
    UPDATE pg_temp.db_testing_relations SET writes =
        pg_temp.db_testing_writes(relation, kind) + pg_temp.db_testing_own_writes(relation, kind);
    UPDATE pg_temp.db_testing_relations
    SET rows = (SELECT count(*) FROM pg_db_role_setting
        WHERE setdatabase = db_testing_learn.database)
    WHERE name = 'pg_catalog.pg_db_role_setting';
    PERFORM pg_stat_force_next_flush();
    ANALYZE pg_temp.db_testing_relations, pg_temp.db_testing_rows, pg_temp.db_testing_classes;
END
$$;

-- How many rows there are, and how many of them are a test's.
CREATE FUNCTION pg_temp.db_testing_count(
    name text, first xid, known xid[], OUT rows bigint, OUT newer bigint)
LANGUAGE plpgsql AS $$
DECLARE
    -- What stands beside a materialised view (TOAST) is another one whenever that is refreshed.
    beside text := '(SELECT oid FROM pg_class WHERE relnamespace = ''pg_toast''::regnamespace)';
BEGIN
    EXECUTE format('SELECT count(*), count(*) FILTER'
        ' (WHERE pg_temp.db_testing_newer(xmin, $1, $2)) FROM ONLY %s%s', name,
        -- Schemas for temporary tables stay, once there; and there may be many.
        CASE name
            WHEN 'pg_catalog.pg_namespace' THEN ' WHERE nspname !~ ''^pg_'''
            WHEN 'pg_catalog.pg_attribute' THEN ' WHERE attrelid NOT IN ' || beside
            WHEN 'pg_catalog.pg_index' THEN ' WHERE indrelid NOT IN ' || beside
            WHEN 'pg_catalog.pg_depend'
            THEN ' WHERE classid <> ''pg_class''::regclass OR objid NOT IN ' || beside
            ELSE ''
        END)
    INTO rows, newer USING first, known;
END
$$;

-- Whose these are.
CREATE FUNCTION pg_temp.db_testing_writers(
    name text, first xid, known xid[], OUT transactions xid[])
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT ARRAY(SELECT xmin FROM ONLY %s'
        ' WHERE pg_temp.db_testing_newer(xmin, $1, $2) GROUP BY xmin)', name)
    INTO transactions USING first, known;
END
$$;

-- Put the rows of a table back that were there when the test began; tell whether it took a change.
-- They are those of before only if they read the same: what a generated column says may depend on
-- more than its row, and so may how a type reads what it has written.
CREATE FUNCTION pg_temp.db_testing_restore(it pg_temp.db_testing_relations) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    image text := format('SELECT image FROM pg_temp.db_testing_rows WHERE relation = %s',
        it.relation);
    now text := format(
        'SELECT textin(record_out(db_testing_row)) FROM ONLY %s AS db_testing_row', it.name);
    put text := format('WITH put AS (INSERT INTO %1$s AS db_testing_row (%2$s)'
        ' OVERRIDING SYSTEM VALUE SELECT %3$s'
        ' FROM (SELECT image::%1$s AS r FROM (%4$s AND image NOT IN (%5$s)) AS missing OFFSET 0)'
        ' AS restored RETURNING textin(record_out(db_testing_row)) AS now)'
        ' SELECT count(*), count(*) FILTER (WHERE now NOT IN (%4$s)) FROM put',
        it.name, it.columns, it.fields, image, now);
    path text := current_setting('search_path');
    differing bigint;
    surplus bigint;
    missing bigint;
    others bigint;
BEGIN
    PERFORM set_config('search_path', current_setting('db_testing.path'), true);
    EXECUTE format('DELETE FROM ONLY %s AS db_testing_row'
        ' WHERE textin(record_out(db_testing_row)) NOT IN (%s)', it.name, image);
    GET DIAGNOSTICS surplus = ROW_COUNT;
    EXECUTE put INTO missing, others;
    EXECUTE format('SELECT count(*) - %s FROM ONLY %s', it.rows, it.name) INTO differing;
    IF differing = 0 AND it.twice THEN
        EXECUTE format('SELECT count(*) FROM (%s EXCEPT ALL %s) AS d', image, now) INTO differing;
    END IF;
    IF differing <> 0 THEN  -- some are there twice, as without a key they may
        EXECUTE format('DELETE FROM ONLY %s', it.name);
        EXECUTE put INTO differing, others;
    END IF;
    IF others > 0 THEN
        RAISE 'rows of % are others when they are put back', it.name;
    END IF;
    PERFORM set_config('search_path', path, true);
    RETURN surplus + missing + differing <> 0;
END
$$;

-- Find what was changed since the last sweep, and undo it.
CREATE FUNCTION pg_temp.db_testing_sweep(
    ours oid[],
    thorough boolean,           -- look at everything, because not everything is counted yet
    database oid,
    INOUT first xid,            -- what this transaction and later ones have written is a test's
    INOUT known text[],         -- but for these: the sweep's own, and what had ended before it knew
    INOUT at timestamptz,       -- what others have done before has been looked at
    OUT others oid[],           -- sessions that must be waited for, or asked for thoroughness
    OUT prepared text[],        -- transactions that must be rolled back first
    OUT roles text[],           -- made or changed, by whomever on this server, and left as they are
    OUT slots text[],           -- replication slots of no database
    OUT reason text,            -- why the database must be replaced instead
    OUT grown text              -- tables that need a VACUUM
)
LANGUAGE plpgsql AS $$
DECLARE
    replica boolean := current_setting('session_replication_role') = 'replica';
    changed pg_temp.db_testing_relations[];
    it pg_temp.db_testing_relations;
    seen record;
    emptied text[] := '{}';
    refilled pg_temp.db_testing_relations[] := '{}';
    views oid[] := '{}';
    swapped oid[] := '{}';
    sequences oid[] := '{}';
    handled oid[] := '{}';
    again text[] := '{}';
    server boolean := thorough; -- whether to look at what belongs to the whole server
    defined boolean := false;   -- whether the sweep itself has changed a catalog
    decoded boolean;            -- whether a replication slot is of this database
    settled boolean;
    deletes text;
    path text := current_setting('search_path');
    mine integer[] := ours::integer[] || pg_backend_pid();
    ended xid[] := known::xid[];
    next xid := CASE WHEN thorough THEN pg_temp.db_testing_first(database)
        ELSE pg_snapshot_xmax(pg_current_snapshot())::xid END;  -- nobody else does anything
BEGIN
    -- Who is connected is told at a third of the cost of what they do.
    IF NOT thorough AND EXISTS (
        SELECT FROM pg_stat_get_backend_idset() AS id
        WHERE pg_stat_get_backend_dbid(id) = database
          AND pg_stat_get_backend_pid(id) <> ALL (mine))
    THEN
        SELECT array_agg(pid) INTO others FROM pg_stat_get_activity(NULL)
        WHERE datid = database AND pid <> ALL (mine)
          -- Of another role's, what it is and does is hidden from a mere owner.
          AND usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
          AND (state IS DISTINCT FROM 'idle' OR state_change IS NULL
              OR state_change >= db_testing_sweep.at);
        IF others IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;
    IF pg_stat_get_db_stat_reset_time(database) >= at THEN  -- what was counted before is lost
        thorough := true;
        server := true;
    END IF;
    SELECT array_agg(gid) INTO prepared FROM pg_prepared_xact() WHERE dbid = database;
    IF prepared IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(r ORDER BY kind <> 'g', relation) INTO changed FROM pg_temp.db_testing_relations AS r
    WHERE thorough AND (rows >= 0 OR kind <> 'c')
        OR writes <> pg_temp.db_testing_writes(relation, kind);

    SELECT array_agg(slot_name::text) FILTER (WHERE datoid IS NULL AND NOT temporary),
        bool_or(datoid = database)
    INTO slots, decoded FROM pg_get_replication_slots();

    -- What the schema consists of.
    FOREACH it IN ARRAY coalesce(changed, '{}') LOOP
        CONTINUE WHEN it.kind NOT IN ('c', 'g');
        handled := handled || it.relation;
        IF it.kind = 'g' THEN
            server := true;
            IF replica THEN
                SELECT array_agg(rolname::text ORDER BY rolname) INTO roles
                FROM pg_authid WHERE pg_temp.db_testing_newer(xmin, first, ended)
                    OR oid IN (SELECT member FROM pg_auth_members
                        WHERE pg_temp.db_testing_newer(xmin, first, ended))
                    OR oid IN (SELECT setrole FROM pg_db_role_setting
                        WHERE setdatabase = 0
                          AND pg_temp.db_testing_newer(xmin, first, ended));
            END IF;
            CONTINUE;
        END IF;
        IF it.name IN ('pg_catalog.pg_largeobject', 'pg_catalog.pg_largeobject_metadata')
            AND EXISTS (SELECT FROM pg_temp.db_testing_relations
                WHERE name = 'pg_catalog.pg_largeobject_metadata' AND rows = 0)
        THEN
            PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
            defined := true;
            CONTINUE;
        END IF;
        IF it.rows >= 0 THEN
            seen := pg_temp.db_testing_count(it.name, first, ended);
            CONTINUE WHEN seen.rows = it.rows AND seen.newer = 0;
            IF it.name = 'pg_catalog.pg_class' AND seen.rows = it.rows THEN
                SELECT coalesce(array_agg(c.oid), '{}') AS newer, count(*) FILTER (
                    WHERE image IS DISTINCT FROM pg_temp.db_testing_class(c)
                      AND NOT (c.relnamespace = 'pg_toast'::regnamespace
                          AND pg_temp.db_testing_class(c) IN (
                              SELECT old.image FROM pg_temp.db_testing_classes AS old))
                ) AS differing
                INTO seen
                FROM pg_class AS c LEFT JOIN pg_temp.db_testing_classes ON relation = c.oid
                WHERE pg_temp.db_testing_newer(c.xmin, first, ended);
                swapped := seen.newer;
                CONTINUE WHEN seen.differing = 0;
            END IF;
        END IF;
        reason := 'the schema was changed (' || it.name || ')';
        RETURN;
    END LOOP;
    IF server THEN
        reason := CASE
            WHEN EXISTS (SELECT FROM pg_db_role_setting
                WHERE setdatabase = database AND pg_temp.db_testing_newer(xmin, first, ended))
                OR (SELECT rows FROM pg_temp.db_testing_relations
                    WHERE name = 'pg_catalog.pg_db_role_setting')
                    <> (SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = database)
            THEN 'settings of the database were changed'
            WHEN EXISTS (SELECT FROM pg_subscription WHERE subdbid = database)
            THEN 'a subscription was left'
            WHEN EXISTS (SELECT FROM pg_database
                WHERE oid = database AND pg_temp.db_testing_newer(xmin, first, ended))
                OR EXISTS (SELECT FROM pg_shdescription
                    WHERE classoid = 'pg_database'::regclass AND objoid = database
                      AND pg_temp.db_testing_newer(xmin, first, ended))
            THEN 'the database itself was altered'
        END;
    END IF;
    IF decoded THEN
        reason := 'a replication slot was left';
    END IF;
    IF reason IS NOT NULL THEN
        RETURN;
    END IF;

    IF swapped <> '{}' THEN
        SELECT changed || array_agg(r) INTO changed FROM pg_temp.db_testing_relations AS r
        WHERE relation = ANY (swapped)
          AND relation NOT IN (SELECT c.relation FROM unnest(changed) AS c);
    END IF;

    -- Rows.
    FOREACH it IN ARRAY coalesce(changed, '{}') LOOP
        CONTINUE WHEN it.kind IN ('c', 'g');
        handled := handled || it.relation;
        IF it.kind = 'S' THEN
            sequences := sequences || it.relation;
            CONTINUE;
        END IF;
        CONTINUE WHEN thorough AND it.rows = 0 AND it.kind = 'r'
            AND pg_relation_size(it.relation) = 0;
        IF it.rows > 0 AND NOT it.relation = ANY (swapped) THEN
            seen := pg_temp.db_testing_count(it.name, first, ended);
            CONTINUE WHEN seen.rows = it.rows AND seen.newer = 0;
        END IF;
        IF it.kind = 'm' THEN
            -- One without a page may be one without data, which cannot be read.
            CONTINUE WHEN thorough AND NOT it.relation = ANY (swapped)
                AND pg_relation_size(it.relation) = 0;
            CONTINUE WHEN thorough AND NOT it.relation = ANY (swapped)
                AND (pg_temp.db_testing_count(it.name, first, ended)).newer = 0;
            IF it.rows > 0 AND NOT it.kept THEN
                reason := format('%s was refreshed, which is too large to be compared', it.name);
                RETURN;
            END IF;
            views := views || it.relation;
            CONTINUE;
        END IF;
        IF it.stubborn IS NOT NULL THEN
            reason := format('%s was changed, which has %s', it.name, it.stubborn);
            RETURN;
        ELSIF it.rows > 0 AND NOT it.kept THEN
            reason := format('rows of %s were changed, which is too large to be restored', it.name);
            RETURN;
        ELSIF it.rows > 0 THEN
            refilled := refilled || it;
        ELSIF pg_relation_size(it.relation) > 256 * 8192 AND NOT it.referenced
            AND (replica OR NOT EXISTS (SELECT FROM pg_trigger
                WHERE tgrelid = it.relation AND tgtype::integer & 32 <> 0))  -- on TRUNCATE
        THEN
            EXECUTE format('TRUNCATE ONLY %s', it.name);
            defined := true;
            CONTINUE;
        ELSE
            emptied := emptied || it.name;
        END IF;
        IF pg_relation_size(it.relation) > (it.pages + 24) * 8192 THEN
            grown := concat_ws(', ', grown, it.name);
        END IF;
    END LOOP;

    IF replica THEN
        FOREACH deletes IN ARRAY emptied LOOP
            EXECUTE format('DELETE FROM ONLY %s', deletes);
        END LOOP;
    ELSIF emptied <> '{}' OR refilled <> '{}' THEN
        -- The owner of the tables, who is no superuser, must keep to foreign keys.
        FOR seen IN
            SELECT format('ALTER TABLE %s DISABLE TRIGGER %I', name, tgname) AS disable,
                format('ALTER TABLE %s ENABLE TRIGGER %I', name, tgname) AS enable
            FROM pg_trigger JOIN pg_temp.db_testing_relations r ON r.relation = tgrelid
            WHERE tgrelid = ANY (handled) AND NOT tgisinternal AND tgenabled = 'O'
        LOOP
            EXECUTE seen.disable;
            again := again || seen.enable;
            defined := true;
        END LOOP;
        SET CONSTRAINTS ALL DEFERRED;
        -- In one statement: keys, cycles of them too, are checked when all rows are gone.
        IF emptied <> '{}' THEN
            SELECT 'WITH ' || string_agg(format('d%s AS (DELETE FROM ONLY %s)', n, name), ', ')
                || ' SELECT' INTO deletes FROM unnest(emptied) WITH ORDINALITY AS t (name, n);
            EXECUTE deletes;
        END IF;
    END IF;
    -- Keys that are awake may take rows of one table along when another is restored.
    FOR pass IN 0 .. cardinality(refilled) LOOP
        settled := true;
        FOREACH it IN ARRAY refilled LOOP
            settled := NOT pg_temp.db_testing_restore(it) AND settled;
        END LOOP;
        EXIT WHEN replica OR settled OR cardinality(refilled) = 1;
    END LOOP;
    IF NOT (replica OR settled OR cardinality(refilled) = 1) THEN
        reason := 'foreign keys changed rows of the template as others were restored';
        RETURN;
    END IF;
    IF again <> '{}' THEN
        SET CONSTRAINTS ALL IMMEDIATE;
        FOREACH deletes IN ARRAY again LOOP
            EXECUTE deletes;
        END LOOP;
    END IF;
    PERFORM setval(relation::regclass, last, called)
    FROM pg_temp.db_testing_relations WHERE relation = ANY (sequences);
    IF views <> '{}' THEN
        defined := true;
        PERFORM set_config('search_path', current_setting('db_testing.path'), true);
        FOR it IN SELECT * FROM pg_temp.db_testing_relations
            WHERE relation = ANY (views) ORDER BY relation
        LOOP
            EXECUTE format('REFRESH MATERIALIZED VIEW %s', it.name);
            EXECUTE format('SELECT count(*) FILTER (WHERE image IS NULL OR now IS NULL) AS differing'
                ' FROM (SELECT image, row_number() OVER (PARTITION BY image) AS n'
                ' FROM pg_temp.db_testing_rows WHERE relation = %s) AS i FULL JOIN'
                ' (SELECT now, row_number() OVER (PARTITION BY now) AS m FROM (SELECT'
                ' textin(record_out(db_testing_row)) AS now FROM %s AS db_testing_row) AS n) AS r'
                ' ON image = now AND n = m',
                it.relation, it.name) INTO seen;
            IF seen.differing > 0 THEN
                reason := format('%s was refreshed, which changes what the template has in it', it.name);
                RETURN;
            END IF;
        END LOOP;
        PERFORM set_config('search_path', path, true);
    END IF;

    IF handled <> '{}' THEN
        -- Keys may have taken rows with them that no test had changed.
        IF NOT replica THEN
            SELECT format('rows of %s were taken along by a foreign key', name) INTO reason
            FROM pg_temp.db_testing_relations
            WHERE kind = 'r' AND relation <> ALL (handled)
              AND pg_temp.db_testing_own_writes(relation, kind) <> 0
            LIMIT 1;
        END IF;
        IF defined THEN
            SELECT handled || array_agg(relation) INTO handled FROM pg_temp.db_testing_relations
            WHERE kind IN ('c', 'g') AND pg_temp.db_testing_own_writes(relation, kind) <> 0;
        END IF;
        UPDATE pg_temp.db_testing_relations SET writes =
            pg_temp.db_testing_writes(relation, kind)
            + pg_temp.db_testing_own_writes(relation, kind)
        WHERE relation = ANY (handled);
    END IF;
    IF age(next) < age(first) THEN  -- what had ended once cannot go on
        first := next;
    END IF;
    known := array_remove(pg_current_xact_id_if_assigned()::text
        || ARRAY(SELECT each::text FROM unnest(ended) AS each WHERE age(each) <= age(first)), NULL);
    at := statement_timestamp();  -- what others have done meanwhile is looked at the next time
    PERFORM pg_stat_force_next_flush();
END
$$;
