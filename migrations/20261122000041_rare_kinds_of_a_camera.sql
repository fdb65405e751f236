-- For pages by camera and type together, when the camera has many events and few or none of this type. Not for the type
-- that most events have: the index costs the recorder nothing for these, and `events_camera` finds them.
CREATE INDEX events_camera_kind ON events (camera_id, event_type, id) WHERE event_type <> 'PERSON_DETECTED';
