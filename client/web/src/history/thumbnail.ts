const LONGER_SIDE_PX = 256;

/** Returns a small picture of an image. */
export async function thumbnailOf(file: Blob): Promise<Blob> {
  const image = await createImageBitmap(file);
  const scale = Math.min(1, LONGER_SIDE_PX / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return await new Promise((resolve) => {
    // Safari writes no WebP, and gives a PNG.
    canvas.toBlob((blob) => {
      resolve(blob ?? file);
    }, "image/webp");
  });
}
