"""Makes `photos/group_1.jpg`: four portraits in the public domain, side by side.

python demo/make_group.py
"""

from pathlib import Path

from PIL import Image, ImageFilter

FOLDER = Path(__file__).parent / "photos"
PORTRAITS = ["macron_2.jpg", "ardern_2.jpg", "obama_1.jpg", "collins_1.jpg"]
HEIGHT = 900


def main() -> None:
    pictures = []
    for name in PORTRAITS:
        picture = Image.open(FOLDER / name).convert("RGB")
        width = round(picture.width * HEIGHT / picture.height)
        pictures.append(picture.resize((width, HEIGHT), Image.Resampling.LANCZOS))
    group = Image.new("RGB", (sum(picture.width for picture in pictures), HEIGHT))
    left = 0
    for picture in pictures:
        group.paste(picture, (left, 0))
        left += picture.width
    group = group.filter(ImageFilter.UnsharpMask(radius=1, percent=40))
    group.save(FOLDER / "group_1.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main()
