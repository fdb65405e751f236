-- The sums and the months of what was added, in one pass over it and one statement: a trigger's statement costs a commit of
-- one event as much as one of a thousand.
CREATE OR REPLACE FUNCTION count_added_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH sums AS MATERIALIZED (
        SELECT camera_id, created_at, event_type, min(id) AS id,
               count(*) AS total, count(*) FILTER (WHERE NOT is_resolved) AS unresolved
        FROM added GROUP BY camera_id, created_at, event_type
    ), placed AS MATERIALIZED (
        SELECT place, created_at, event_type, total, unresolved
        FROM sums CROSS JOIN LATERAL unnest(ARRAY[0, camera_id]) AS place WHERE place IS NOT NULL
    ), firsts AS (
        INSERT INTO event_months AS kept (start, has_partition, first_id)
        SELECT month, false, id
        FROM (SELECT month_of(created_at) AS month, min(id) AS id FROM sums GROUP BY 1) AS firsts
        -- Almost always all of this is known, and nothing is written or locked.
        WHERE NOT EXISTS (SELECT FROM event_months WHERE start = month AND first_id <= id)
        ON CONFLICT (start) DO UPDATE SET first_id = least(kept.first_id, excluded.first_id)
    ), totals AS (
        INSERT INTO event_totals AS kept (camera_id, total, unresolved)
        SELECT place, sum(total), sum(unresolved) FROM placed GROUP BY place ORDER BY place
        ON CONFLICT (camera_id) DO UPDATE
            SET total = kept.total + excluded.total, unresolved = kept.unresolved + excluded.unresolved
        RETURNING camera_id
    )
    INSERT INTO event_buckets AS kept (camera_id, start, event_type, count)
    SELECT place, quarter_of(created_at), event_type, sum(total) FROM placed
    -- After the totals, as in every other trigger: so two transactions never wait for each other crosswise.
    WHERE (SELECT count(*) FROM totals) > 0
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (camera_id, start, event_type) DO UPDATE SET count = kept.count + excluded.count;
    RETURN NULL;
END $$;
DROP TRIGGER events_added_months ON events;
