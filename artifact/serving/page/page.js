// The page of the service: a word spoken, a CSV dropped, a text continued. No library, no other site.
const at = (id) => document.getElementById(id);
const token = () => at("token").value.trim();

async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  return answer;
}

// ------------------------------------------------------------------ sound

let stop = null;

async function speak() {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  const models = await (await fetch("models", { headers })).json();
  if (!models.classifier) throw new Error(models.error ? models.error.message : "this service has no classifier");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext({ sampleRate: models.classifier.rate });
  await context.audioWorklet.addModule("recorder.js");
  const recorder = new AudioWorkletNode(context, "recorder");
  const url = new URL("listen", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, token() ? ["resonance", `bearer.${token()}`] : ["resonance"]);
  socket.onmessage = ({ data }) => {
    const { label, confidence, frames, milliseconds } = JSON.parse(data);
    if (label !== null) {
      at("word").value = `${label}  (${Math.round(100 * confidence)}%, ${frames} frames, ${milliseconds.toFixed(1)} ms)`;
    }
  };
  socket.onerror = () => (at("word").value = "the service refused the stream");
  recorder.port.onmessage = ({ data }) => socket.readyState === WebSocket.OPEN && socket.send(data);
  context.createMediaStreamSource(stream).connect(recorder);
  return () => {
    stream.getTracks().forEach((track) => track.stop());
    context.close();
    socket.close();
  };
}

at("speak").onpointerdown = () => {
  at("word").value = "";
  stop = speak().catch((error) => (at("word").value = error.message));
};
at("speak").onpointerup = at("speak").onpointerleave = async () => {
  const end = await stop;
  stop = null;
  if (typeof end === "function") end();
};

// ------------------------------------------------------------------ series

function columns(text) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  const separator = [";", "\t", ","].find((mark) => lines[0].includes(mark)) ?? ",";
  const rows = lines.slice(1).map((line) => line.split(separator));
  const names = lines[0].split(separator);
  const numeric = names.map((_, i) => i).filter((i) => rows.every((row) => row[i]?.trim() && isFinite(row[i])));
  if (!numeric.length) throw new Error("expected a header and at least one column of numbers alone");
  return { names: numeric.map((i) => names[i]), values: rows.map((row) => numeric.map((i) => Number(row[i]))) };
}

function draw(past, found) {
  const canvas = at("plot"), pen = canvas.getContext("2d"), column = (rows) => rows.map((row) => row[0]);
  const shown = column(past).slice(-5 * found.values.length);
  const lines = [column(found.lower), column(found.upper), column(found.values)];
  const all = [...shown, ...lines.flat()], low = Math.min(...all), high = Math.max(...all);
  const steps = shown.length + found.values.length;
  const x = (i) => (canvas.width * i) / (steps - 1);
  const y = (v) => canvas.height * (0.95 - (0.9 * (v - low)) / (high - low || 1));
  const trace = (values, from) => values.forEach((v, i) => pen.lineTo(x(from + i), y(v)));
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = "#0173b233";
  pen.beginPath();
  trace(lines[0], shown.length);
  [...lines[1]].reverse().forEach((v, i) => pen.lineTo(x(steps - 1 - i), y(v)));
  pen.fill();
  for (const [values, from, colour] of [[shown, 0, "#000"], [lines[2], shown.length, "#0173b2"]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = 2;
    pen.beginPath();
    trace(values, from);
    pen.stroke();
  }
}

async function forecast(file) {
  at("account").value = "fitting";
  try {
    const { names, values } = columns(await file.text());
    const request = { values, period: Number(at("period").value), horizon: Number(at("horizon").value) };
    const found = await (await post("fit", request)).json();
    draw(values, found);
    at("account").value = [`${names[0]}, by ${found.method}`, ...found.notes].join("\n");
  } catch (error) {
    at("account").value = error.message;
  }
}

at("file").onchange = () => at("file").files.length && forecast(at("file").files[0]);
at("drop").ondragover = (event) => event.preventDefault();
at("drop").ondrop = (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) forecast(event.dataTransfer.files[0]);
};

// ------------------------------------------------------------------ text

at("write").onclick = async () => {
  const prompt = at("prompt").value;
  at("text").value = prompt;
  try {
    const answer = await post("text", { prompt, max_new_tokens: 200 });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", part; !(part = await reader.read()).done; ) {
      const events = (rest + part.value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        if (event.startsWith("data: ")) at("text").value += JSON.parse(event.slice(6)).text;
      }
    }
  } catch (error) {
    at("text").value = error.message;
  }
};
