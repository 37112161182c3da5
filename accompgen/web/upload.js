// Gradio takes files that the browser calls audio, and browsers call a recording in webm, mp4 or mov a video: what is
// chosen or dropped for the voice is called audio before Gradio sees it. The server finds the sound in it, or says that
// there is none.
const VOICE_FILE = "#voice input[type=file]";
const ACCEPTED = "audio/*,video/*,.m4a,.webm,.mkv,.opus,.caf,.amr";

const asAudio = (file) => (file.type.startsWith("audio/") ? file : new File([file], file.name, { type: "audio/mpeg" }));

function put(input, files) {
  const carried = new DataTransfer();
  for (const file of files) carried.items.add(asAudio(file));
  input.files = carried.files;
}

document.addEventListener("click", (event) => {
  const input = document.querySelector(VOICE_FILE);
  if (input && (event.target === input || event.target.closest?.("#voice"))) input.accept = ACCEPTED;
}, true);

document.addEventListener("change", (event) => {
  const input = event.target;
  if (input.matches?.(VOICE_FILE)) put(input, [...input.files]);
}, true);

document.addEventListener("drop", (event) => {
  const input = document.querySelector(VOICE_FILE), files = [...(event.dataTransfer?.files ?? [])];
  if (!input || !files.length || !event.target.closest?.("#voice")) return;
  event.preventDefault();
  event.stopPropagation();
  put(input, files.slice(0, 1));
  input.dispatchEvent(new Event("change", { bubbles: true }));
}, true);
