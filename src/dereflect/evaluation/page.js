// Turns each row of thumbnails into a slider with a choice of what stands left and right. Without JavaScript the
// thumbnails alone remain.
for (const section of document.querySelectorAll(".picture")) {
  const images = [...section.querySelectorAll("figure img")];
  const source = Object.fromEntries(images.map((image) => [image.alt, image.getAttribute("src")]));
  const slider = document.createElement("div");
  slider.className = "slider";
  slider.style.setProperty("--at", "50%");
  slider.innerHTML =
    '<img class="under" draggable="false"><div class="over"><img draggable="false"></div><div class="edge"></div>' +
    '<span class="leftname"></span><span class="rightname"></span>';
  const [under, over] = [slider.querySelector(".under"), slider.querySelector(".over img")];
  under.loading = over.loading = "lazy";
  under.onload = () => {
    if (under.naturalWidth < 420) under.style.width = "420px"; // room for both names
  };
  const pick = document.createElement("div");
  pick.className = "pick";
  const choosers = [];
  const chooser = (label, chosen, apply) => {
    const select = document.createElement("select");
    for (const name of Object.keys(source)) select.add(new Option(name, name, name === chosen, name === chosen));
    const place = document.createElement("label");
    place.append(label + " ", select);
    pick.append(place);
    select.onchange = () => apply(select.value);
    choosers.push(select);
    apply(chosen);
  };
  chooser("left of the line:", section.dataset.left, (name) => {
    over.src = source[name];
    over.alt = name;
    slider.querySelector(".leftname").textContent = name;
  });
  chooser("right of the line:", section.dataset.right, (name) => {
    under.src = source[name];
    under.alt = name;
    slider.querySelector(".rightname").textContent = name;
  });
  for (const image of images) {
    image.style.cursor = "pointer";
    image.title = "show right of the line";
    image.onclick = () => {
      choosers[1].value = image.alt;
      choosers[1].onchange();
    };
  }
  const move = (event) => {
    const box = slider.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    slider.style.setProperty("--at", (100 * share).toFixed(2) + "%");
  };
  slider.addEventListener("pointermove", move);
  slider.addEventListener("pointerdown", move);
  section.querySelector(".thumbnails").before(pick, slider);
}
