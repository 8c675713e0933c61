// What fails is said on the page, above all charts.

addEventListener("error", (event) => {
  const box = document.getElementById("errors");
  box.hidden = false;
  box.textContent += `${event.message ?? event}\n`;
});
