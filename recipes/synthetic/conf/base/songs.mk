# about 170 h of pairs; rendered by 16 processes in a few hours
TRAIN_SONGS      := 20000
VALIDATION_SONGS := 100
TEST_SONGS       := 60
SONG_SECONDS     := 30
