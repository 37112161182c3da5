# just enough to go through every part
TRAIN_SONGS      := 8
VALIDATION_SONGS := 4
TEST_SONGS       := 2
SONG_SECONDS     := 12
VOICES           := slt,rms
