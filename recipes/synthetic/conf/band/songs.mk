# songs of 30 s with their stems: about 12 h of pairs for training
TRAIN_SONGS      := 1400
VALIDATION_SONGS := 60
TEST_SONGS       := 60
SONG_SECONDS     := 30
