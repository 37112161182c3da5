// How far the band is, with a button to stop it; what went wrong, in words. Gradio gives `element`, `props`, `watch`, `trigger`.
const panel = document.createElement("div");
element.append(panel);

function time(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  // a number and its unit stay in one line
  return whole < 60 ? `${whole}\u00a0s` : `${Math.floor(whole / 60)}\u00a0min ${whole % 60}\u00a0s`;
}

function words(value) {
  const left = value.remaining === null ? "" : ` · about ${time(value.remaining)} left`;
  if (value.ahead) return `${value.ahead === 1 ? "One singer is" : `${value.ahead} singers are`} before you${left}`;
  return (value.what || "Listening to you") + left;
}

function show() {
  const value = props.value ?? { state: "idle" };
  panel.className = `ag-work ag-${value.state}`;
  if (value.state === "working") {
    if (!panel.querySelector("progress")) {
      panel.innerHTML = '<p aria-live="polite"></p><progress max="1"></progress><button type="button">Stop</button>';
      panel.querySelector("button").onclick = () => trigger("stop");
      panel.scrollIntoView({ block: "nearest", behavior: "smooth" });
    }
    panel.querySelector("p").textContent = words(value);
    const bar = panel.querySelector("progress");
    if (value.share > 0) bar.value = value.share;
    else bar.removeAttribute("value");
    return;
  }
  panel.replaceChildren();
  if (value.state === "said") {
    const said = document.createElement("p");
    said.setAttribute("role", "alert");
    said.textContent = value.text;
    panel.append(said);
    panel.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }
}

watch("value", show);
show();
