// What the hub's calls answer, as far as the dashboard reads it.

export type Role = "USER" | "OPERATOR" | "ADMIN";
export type EventType = "PERSON_DETECTED" | "MULTIPLE_PERSONS" | "DOOR_OPENED" | "DOOR_CLOSED" | "SYSTEM_ALERT";
export const EVENT_TYPES: EventType[] = ["PERSON_DETECTED", "MULTIPLE_PERSONS", "DOOR_OPENED", "DOOR_CLOSED", "SYSTEM_ALERT"];

export interface HubEvent {
  id: number;
  cameraId: number | null;
  eventType: EventType;
  personCount: number;
  confidence: number | null;
  snapshotPath: string | null;
  description: string | null;
  isResolved: boolean;
  createdAt: string;
  resolvedAt: string | null;
  camera: { id: number | null; name: string; location: string | null };
  detectionId: string | null;
  detectedAt: string | null;
  /** A signed address of its picture, for a day; null without one. A hub before pictures has no such key, here and below. */
  snapshotUrl?: string | null;
  /** Why there is no picture although one was sent. */
  snapshotProblem?: string | null;
  kind?: string | null;
  /** The camera an alert is about. */
  subjectCameraId?: number | null;
  requestedBy?: string | null;
}

/** Whether a camera is heard, and whether somebody is there. */
export interface Presence {
  online?: boolean | null;
  lastSeen?: string | null;
  occupied?: boolean | null;
  personCount?: number | null;
}

export interface Camera extends Presence {
  id: number;
  name: string;
  location: string | null;
  streamUrl: string | null;
  webrtcUrl: string | null;
  description: string | null;
  isActive: boolean;
  createdAt: string;
  updatedAt: string;
  events?: Omit<HubEvent, "camera">[];
}

export type Bolt = "OPEN" | "CLOSED" | "UNKNOWN";
export type Alarm = "DOOR_FORCED" | "DOOR_HELD_OPEN";

export interface LockStatus {
  status: Bolt;
  online: boolean;
  simulated: boolean;
  pin: number;
  reason: string | null;
  requestedBy: string | null;
  opensUntil: string | null;
  held: boolean;
  door: Bolt | null;
  alarm: Alarm | null;
  alarmSince: string | null;
  changedAt?: string | null;
  openedBy?: string | null;
}

export interface LockAttempt {
  id: number;
  commandId: string | null;
  action: string;
  requestedBy: string;
  channel: string;
  address: string | null;
  requestedAt: string;
  outcome: string | null;
  message: string | null;
  durationMs: number | null;
  eventId: number | null;
  cameraId: number | null;
  detail: string | null;
  times: number;
  snapshotUrl?: string | null;
}

export interface User {
  id: number;
  username: string;
  email: string;
  firstName: string | null;
  lastName: string | null;
  role: Role;
  isActive: boolean;
  createdAt: string;
}

export type DeviceRole = "camera" | "ai-engine" | "lock-agent" | "sensor" | "controller";
export const DEVICE_ROLES: DeviceRole[] = ["camera", "ai-engine", "lock-agent", "sensor", "controller"];

export interface Device {
  id: number;
  name: string;
  role: DeviceRole;
  cameraId: number | null;
  createdAt: string;
  lastSeen: string | null;
  online: boolean;
}

export interface DeviceWithSecret extends Device {
  username: string;
  password: string;
  token: string;
}

export interface EventStats {
  total: number;
  unresolved: number;
  todayEvents: number;
  resolved: number;
}

export interface AnalyticsLine {
  bucket: string;
  eventType: EventType;
  count: number;
}

export interface Rejected {
  id: number;
  topic: string;
  payload: string;
  reason: string;
  source: string;
  receivedAt: string;
}

export interface Part {
  name: string;
  up: boolean;
  state?: "up" | "degraded" | "down";
  since?: string;
  detail?: string;
}

export interface Ready {
  status: string;
  parts: Part[];
}

export interface About {
  version: string;
  timeZone: string;
  lockHoldOpen: boolean;
}
