// The fan-out of the hub in its smallest form, with the official server: what is posted is told to every dashboard. No
// identity, no rights, no database. measure.py measures the hub beside it.

import { createServer } from "node:http";
import { Server } from "socket.io";

let id = 0;
const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const { cameraId, personCount, confidence, description, detectionId } = JSON.parse(Buffer.concat(parts));
  const createdAt = new Date().toISOString();
  const event = {
    id: ++id,
    cameraId,
    eventType: "PERSON_DETECTED",
    personCount,
    confidence,
    snapshotPath: null,
    description,
    isResolved: false,
    createdAt,
    resolvedAt: null,
    camera: { id: cameraId, name: "Front door", location: null },
    detectionId,
    detectedAt: null,
  };
  io.emit("event:detected", { ...event, broadcastedAt: new Date().toISOString() });
  const answer = JSON.stringify(event);
  response.writeHead(201, { "content-type": "application/json", "content-length": Buffer.byteLength(answer) }).end(answer);
});
const io = new Server(server, { serveClient: false });
server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));
process.stdin.resume().on("end", () => process.exit(0));
