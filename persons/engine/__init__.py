"""The embedded recogniser: detects, embeds, searches and clusters faces. It knows no database."""
