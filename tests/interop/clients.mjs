// The JavaScript clients, driven by the suite: commands come as lines of JSON on standard input, and everything that
// a client hears goes out as lines of JSON. Standard input's end ends the program.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";
import mqtt from "mqtt";

const clients = new Map();

function say(id, name, content) {
  process.stdout.write(JSON.stringify({ id, name, content: content ?? null }) + "\n");
}

// A dashboard: a Socket.io client that tells of every event, of its connection and of its refusal.
function dashboard({ id, url, auth, headers, transports }) {
  const socket = io(url, {
    auth: auth ?? undefined,
    extraHeaders: headers ?? undefined,
    transports,
    reconnectionDelay: 100,
    forceNew: true,
  });
  socket.on("connect", () => say(id, "(connect)", { transport: socket.io.engine.transport.name }));
  socket.on("connect_error", (error) => say(id, "(connect_error)", { message: error.message }));
  socket.on("disconnect", (reason) => say(id, "(disconnect)", { reason }));
  socket.onAny((name, ...content) => say(id, name, content[0]));
  clients.set(id, {
    emit: ({ event, args, ack }) => {
      const heard = ack === null ? [] : [(answer) => say(id, `(ack ${ack})`, answer)];
      socket.emit(event, ...args, ...heard);
    },
    close: () => socket.disconnect(),
  });
}

// A device: an MQTT client that tells of every message, of its connection and of its refusal.
function device({ id, url, options }) {
  const client = mqtt.connect(url, { reconnectPeriod: 0, connectTimeout: 10_000, ...options });
  client.on("connect", (packet) => say(id, "(connect)", { code: packet.reasonCode ?? packet.returnCode }));
  client.on("error", (error) => say(id, "(connect_error)", { code: error.code, message: error.message }));
  client.on("close", () => say(id, "(disconnect)"));
  client.on("message", (topic, payload, packet) =>
    say(id, topic, { text: payload.toString(), qos: packet.qos, retain: packet.retain }),
  );
  clients.set(id, {
    publish: ({ topic, payload, qos, retain, ack }) =>
      client.publish(topic, payload, { qos, retain }, (error) => say(id, `(ack ${ack})`, { code: error?.code ?? 0 })),
    subscribe: ({ filter, ack }) =>
      client.subscribe(filter, { qos: 1 }, (error, granted) =>
        say(id, `(ack ${ack})`, { granted: granted?.map((one) => one.qos) ?? [], error: error?.message ?? null }),
      ),
    close: () => client.end(true),
  });
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line);
    if (command.op === "dashboard") dashboard(command);
    else if (command.op === "device") device(command);
    else clients.get(command.id)[command.op](command);
  })
  .on("close", () => process.exit(0));
