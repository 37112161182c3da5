"""Songs made from symbolic music by a singer and a band: corpus or composer -> score -> singing and playing -> pairs."""
