# songs of 30 s: about 9 h of pairs for training
TRAIN_SONGS      := 1100
VALIDATION_SONGS := 60
TEST_SONGS       := 60
SONG_SECONDS     := 30
