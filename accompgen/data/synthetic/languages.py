"""Words for the voices to speak, by language, and which phones are vowels and which are unvoiced.

The words are common ones of songs, spelled as the language's speech synthesis reads them. Phones are
named as the synthesis names them, without the marks of length (`:`) and stress (`1`) at their end.
"""

from dataclasses import dataclass

# What the engines call silence, in every language.
PAUSES = frozenset("pau sil # ## _ h# brth".split())


@dataclass(frozen=True)
class Language:
    """words: what is spoken; vowels, unvoiced: phone names; encoding: of text for Festival."""

    words: tuple[str, ...]
    vowels: frozenset[str]
    unvoiced: frozenset[str]
    encoding: str = "utf-8"


def _language(words, vowels, unvoiced, encoding="utf-8"):
    return Language(
        tuple(words.split()), frozenset(vowels.split()), frozenset(unvoiced.split()), encoding
    )


LANGUAGES = {
    "English": _language(
        "love you me heart night day light time way home away stay alone tonight forever never "
        "ever always again dream sky star fire rain sun moon sea wind river road world life soul "
        "mind eyes hand face name song voice feel know see hear say tell want need hold run fall "
        "fly turn burn break wake call leave go come find lose give take oh yeah la na my your our "
        "the and but so when where why how if only every little beautiful lonely sweet blue golden "
        "broken open sailing dancing falling waiting calling dreaming morning summer winter shadow "
        "mountain ocean window silver diamond yesterday tomorrow remember together maybe nothing "
        "everything anywhere without inside through over under slowly apple garden market yellow "
        "shining thousand joy choose moved evening boy cloud down fair bird",
        "aa ae ah ao aw ax axr ay eh er ey ih iy ow oy uh uw",
        "p t k f th s sh ch h hh",
    ),
    "Italian": _language(
        "amore cielo stella notte vento mare sole luna cuore sogno vita fuoco terra acqua rosa "
        "dolce bella canto voce mano occhi viso strada fiume monte neve pioggia luce ombra sempre "
        "mai domani oggi ieri dove quando perché come torna resta vieni vola balla corri ridi "
        "piango parlo sento vedo voglio posso giorno mattina sera estate inverno primavera bambino "
        "amico lontano vicino insieme solo piccolo grande nuovo libero giovane figlia paese "
        "campane",
        "i e E a o O u",
        "p t k f s S ts tS",
        "iso-8859-1",
    ),
    "Finnish": _language(
        "rakkaus taivas tähti yö tuuli meri aurinko kuu sydän uni elämä tuli maa vesi ruusu kaunis "
        "laulu ääni käsi silmä tie joki vuori lumi sade valo varjo aina koskaan huomenna tänään "
        "missä milloin miksi miten tule jää lennä tanssi juokse naura itke puhun kuulen näen "
        "haluan päivä aamu ilta kesä talvi kevät lapsi ystävä kaukana lähellä yhdessä yksin pieni "
        "suuri uusi vapaa hiljaa metsä lintu kotona",
        "a e i o u y @ 7 &",
        "p t k f T s S h",
        "iso-8859-1",
    ),
    "Czech": _language(
        "láska nebe hvězda noc vítr moře slunce měsíc srdce sen život oheň země voda růže krásná "
        "píseň hlas ruka oči cesta řeka hora sníh déšť světlo stín vždycky nikdy zítra dnes kde "
        "kdy proč jak pojď zůstaň leť tancuj běž směj plač mluvím slyším vidím chci den ráno večer "
        "léto zima jaro dítě přítel daleko blízko spolu sama malý velký nový tiše les pták doma "
        "zpívám naděje",
        "a e i o u",
        "p t t~ k c c~ ch f s s~ r~*",
        "iso-8859-2",
    ),
    "Catalan": _language(
        "amor cel estrella nit vent mar sol lluna cor somni vida foc terra aigua rosa dolça bella "
        "cançó veu mà ulls cara camí riu muntanya neu pluja llum ombra sempre mai demà avui ahir "
        "on quan com torna queda vine vola balla corre ploro parlo sento veig vull dia matí vespre "
        "estiu hivern primavera nen amic lluny prop junts sola petit gran nou lliure casa jove "
        "ocell",
        "ax a e E i o O u",
        "p t k f s S",
        "iso-8859-1",
    ),
    "Russian": _language(
        "любовь небо звезда ночь ветер море солнце луна сердце сон жизнь огонь земля вода роза "
        "милая песня голос рука глаза дорога река гора снег дождь свет тень всегда никогда завтра "
        "сегодня где когда почему как приди останься лети танцуй беги смейся плачу говорю слышу "
        "вижу хочу день утро вечер лето зима весна дитя друг далеко близко вместе одна малый "
        "большой новый тихо лес птица дома мама надежда",
        "ii yy uu ee oo aa a e i y u ae ay ur",
        "p pp t tt k kk c ch f ff s ss sh sch h hh",
    ),
    "Telugu": _language(
        "ప్రేమ ఆకాశం నక్షత్రం రాత్రి గాలి సముద్రం సూర్యుడు చంద్రుడు గుండె కల జీవితం నిప్పు భూమి "
        "నీరు పువ్వు పాట గొంతు చేయి కన్ను దారి నది కొండ వాన వెలుగు నీడ ఎప్పుడు రేపు నేడు ఎక్కడ "
        "ఎందుకు రా ఉండు ఎగురు ఆడు పరుగు నవ్వు మాట వింటాను చూస్తాను రోజు ఉదయం సాయంత్రం పాప స్నేహం "
        "దూరం దగ్గర కలిసి ఒంటరి చిన్న పెద్ద కొత్త నెమ్మది అడవి పక్షి ఇల్లు తల్లి ఆశ",
        "a aa ih iy uh uw eh ee ay oh oo aw @",
        "p t k kh ch th tth T f s sh h ksh",
    ),
    "Japanese": _language(
        "あい そら ほし よる かぜ うみ たいよう つき こころ ゆめ いのち ひ つち みず ばら うた "
        "こえ て め みち かわ やま ゆき あめ ひかり かげ いつも きっと あした きょう どこ いつ "
        "なぜ おいで いて とんで おどる はしる わらう なみだ はなす きこえる みえる ほしい あさ "
        "ゆうべ なつ ふゆ はる こども ともだち とおく ちかく ひとり いっしょ ちいさな おおきな "
        "あたらしい しずか もり とり いえ きぼう さくら なつかしい まぶしい",
        "a i u e o",
        # capitals are devoiced vowels, cl is the silence of a doubled consonant
        "k ky s sh t ts ty ch f h hy p py cl A I U E O",
    ),
}  # fmt: skip
