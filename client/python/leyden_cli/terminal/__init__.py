"""Pictures in a terminal: what it can draw, and how each way of drawing is written.

picture     pixels: from a PNG, scaled, back to a PNG
detect      which protocol the terminal has
protocols   pixels as kitty graphics, iTerm2 inline images or half blocks
sixel       pixels as sixel graphics
gallery     previews of a generation, side by side above its progress lines
"""
