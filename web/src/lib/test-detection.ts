// A detection with a drawn picture, to see the hub at work before there is a camera.
import { Failure, post } from "./api";
import { clock, day } from "./format";
import type { Camera, HubEvent } from "./types";
import { t } from "../strings";

const [WIDTH, HEIGHT] = [1280, 720];

export async function testDetection(camera: Pick<Camera, "id" | "name">): Promise<void> {
  const event = { cameraId: camera.id, personCount: 1, confidence: 0.97, description: t.live.testWords };
  const picture = await drawn(camera.name);
  if (picture) {
    const form = new FormData();
    form.append("event", new Blob([JSON.stringify(event)], { type: "application/json" }));
    form.append("snapshot", picture, "test.jpg");
    try {
      await post<HubEvent>("/api/events", form);
      return;
    } catch (error) {
      // A hub that takes no pictures, or not this one: the detection is what counts.
      if (!(error instanceof Failure) || (error.status !== 400 && error.status !== 415)) throw error;
    }
  }
  await post<HubEvent>("/api/events", event);
}

/** Somebody at a door at dusk, framed as an engine does; null where the browser cannot draw. */
function drawn(name: string): Promise<Blob | null> {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [WIDTH, HEIGHT];
  const pen = canvas.getContext("2d");
  if (!pen) return Promise.resolve(null);
  const fill = (colour: string | CanvasGradient, x: number, y: number, width: number, height: number) => {
    pen.fillStyle = colour;
    pen.fillRect(x, y, width, height);
  };
  const down = (from: string, to: string, top: number, end: number) => {
    const gradient = pen.createLinearGradient(0, top, 0, end);
    gradient.addColorStop(0, from);
    gradient.addColorStop(1, to);
    return gradient;
  };
  // A wall, a paved way, a door with a lamp.
  fill(down("#43525a", "#6f7b78", 0, 520), 0, 0, WIDTH, 520);
  pen.fillStyle = "rgb(0 0 0 / 7%)";
  for (let row = 0; row < 13; row++) for (let brick = -1; brick < 9; brick++) pen.fillRect(brick * 160 + (row % 2) * 80 + 2, row * 40 + 2, 156, 36);
  fill(down("#3a4143", "#22282a", 520, HEIGHT), 0, 520, WIDTH, 200);
  fill("#20302b", 800, 120, 240, 400);
  fill(down("#2c5a4b", "#1b3d33", 134, 520), 814, 134, 212, 386);
  fill("rgb(255 255 255 / 10%)", 838, 160, 164, 130);
  pen.fillStyle = "#d8c27a";
  pen.beginPath();
  pen.arc(998, 340, 9, 0, 7);
  pen.fill();
  const lamp = pen.createRadialGradient(720, 150, 6, 720, 150, 420);
  lamp.addColorStop(0, "rgb(255 226 160 / 75%)");
  lamp.addColorStop(1, "rgb(255 226 160 / 0%)");
  fill(lamp, 0, 0, WIDTH, HEIGHT);
  // Somebody, each time a little elsewhere.
  const x = 480 + Math.random() * 180;
  pen.fillStyle = "rgb(0 0 0 / 35%)";
  pen.beginPath();
  pen.ellipse(x, 628, 110, 20, 0, 0, 7);
  pen.fill();
  pen.lineCap = pen.lineJoin = "round";
  const limb = (colour: string, width: number, ...points: [number, number][]) => {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    for (const [dx, y] of points) pen.lineTo(x + dx, y);
    pen.stroke();
  };
  limb("#1f2733", 46, [-20, 440], [-32, 610]);
  limb("#1a212c", 46, [22, 440], [36, 610]);
  limb("#a8432f", 92, [0, 300], [0, 420]);
  limb("#963a28", 34, [-50, 300], [-78, 400], [-60, 450]);
  limb("#963a28", 34, [50, 300], [86, 370], [128, 330]);
  pen.fillStyle = "#c99673";
  pen.beginPath();
  pen.arc(x, 205, 44, 0, 7);
  pen.fill();
  pen.fillStyle = "#33241b";
  pen.beginPath();
  pen.arc(x, 192, 46, Math.PI, 0);
  pen.fill();
  // The frame, and what a camera writes into its picture.
  pen.lineJoin = "miter";
  pen.lineWidth = 5;
  pen.strokeStyle = "#3fd0a8";
  pen.strokeRect(x - 125, 130, 290, 520);
  pen.font = "600 26px Inter, sans-serif";
  fill("#3fd0a8", x - 127, 94, pen.measureText(t.live.testMark).width + 28, 38);
  pen.fillStyle = "#04201a";
  pen.fillText(t.live.testMark, x - 113, 122);
  const now = Date.now();
  const line = `${name}   ${day(now)} ${clock(now)}`;
  fill("rgb(0 0 0 / 55%)", 0, HEIGHT - 54, WIDTH, 54);
  pen.fillStyle = "#ffffff";
  pen.fillText(line, 24, HEIGHT - 18, WIDTH - 48);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.85));
}
