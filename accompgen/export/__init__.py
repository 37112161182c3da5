"""CHART <-> FILES: MIDI, a chord sheet, .lab, beats and a click, as other programs and people read
them."""
