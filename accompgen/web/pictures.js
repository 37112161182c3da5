// Pictures of decoded sound on canvases: waveforms, and a spectrogram of what is heard together.
const FFT_SIZE = 2048, LOWEST_HZ = 50, HIGHEST_HZ = 11000, RANGE_DB = 70;

function fitCanvas(canvas) {
  const scale = Math.min(2, devicePixelRatio || 1);
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
  return canvas.getContext("2d");
}

function drawWave(canvas, buffer, colour) {
  const paint = fitCanvas(canvas), { width, height } = canvas, samples = buffer.getChannelData(0);
  paint.fillStyle = colour;
  for (let x = 0; x < width; x++) {
    const from = Math.floor((x * samples.length) / width), to = Math.floor(((x + 1) * samples.length) / width);
    const step = Math.max(1, Math.floor((to - from) / 400));
    let loudest = 0;
    for (let index = from; index < to; index += step) loudest = Math.max(loudest, Math.abs(samples[index]));
    const tall = Math.max(1, Math.sqrt(Math.min(1, loudest)) * height);
    paint.fillRect(x, (height - tall) / 2, 1, tall);
  }
}

// In place, radix 2.
function fft(real, imaginary) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let half = 1; half < size; half *= 2) {
    for (let k = 0; k < half; k++) {
      const angle = (-Math.PI * k) / half, c = Math.cos(angle), s = Math.sin(angle);
      for (let i = k; i < size; i += 2 * half) {
        const r = real[i + half] * c - imaginary[i + half] * s, m = real[i + half] * s + imaginary[i + half] * c;
        real[i + half] = real[i] - r;
        imaginary[i + half] = imaginary[i] - m;
        real[i] += r;
        imaginary[i] += m;
      }
    }
  }
}

// From dark over violet to light, for 0 to 1.
function heat(value) {
  return [250 * value ** 1.3, 235 * value ** 2.6, 40 + 190 * Math.sin(Math.min(1, 0.85 * value + 0.1) * Math.PI * 0.6) ** 2];
}

function drawSpectrogram(canvas, buffers) {
  const paint = fitCanvas(canvas), { width, height } = canvas, rate = buffers[0].sampleRate, length = buffers[0].length;
  const columns = Math.min(width, 700), real = new Float64Array(FFT_SIZE), imaginary = new Float64Array(FFT_SIZE);
  const image = new ImageData(columns, height), levels = new Float32Array(columns * height);
  const highest = Math.min(HIGHEST_HZ, rate / 2), bins = [];
  for (let y = 0; y <= height; y++) bins.push((LOWEST_HZ * (highest / LOWEST_HZ) ** (1 - y / height) * FFT_SIZE) / rate);
  let loudest = -Infinity;
  for (let x = 0; x < columns; x++) {
    const begin = Math.floor(((x + 0.5) * length) / columns) - FFT_SIZE / 2;
    real.fill(0);
    imaginary.fill(0);
    for (const buffer of buffers) {
      const samples = buffer.getChannelData(0);
      for (let n = 0; n < FFT_SIZE; n++) real[n] += (samples[begin + n] ?? 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * n) / FFT_SIZE));
    }
    fft(real, imaginary);
    for (let y = 0; y < height; y++) {
      let power = 0;
      for (let bin = Math.floor(bins[y + 1]); bin <= Math.ceil(bins[y]); bin++) {
        power = Math.max(power, real[bin] ** 2 + imaginary[bin] ** 2);
      }
      const level = 10 * Math.log10(power + 1e-12);
      levels[y * columns + x] = level;
      loudest = Math.max(loudest, level);
    }
  }
  levels.forEach((level, index) => {
    image.data.set([...heat(Math.max(0, 1 + (level - loudest) / RANGE_DB)), 255], 4 * index);
  });
  const drawing = new OffscreenCanvas(columns, height);
  drawing.getContext("2d").putImageData(image, 0, 0);
  paint.drawImage(drawing, 0, 0, width, height);
}
