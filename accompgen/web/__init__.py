"""The page: people sing into it and hear a band (`accompgen web`)."""
