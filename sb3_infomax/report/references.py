"""Raw scores that are 0 and 1 on a normalized scale, for tasks where the literature agrees on them."""

# Random and human scores, 30 no-op starts: Wang et al. 2016 (https://arxiv.org/abs/1511.06581), Table 2; games with the
# corrections of DQN Zoo (https://github.com/google-deepmind/dqn_zoo).
ATARI = {
    "Alien": (227.8, 7127.7),
    "Amidar": (5.8, 1719.5),
    "Assault": (222.4, 742.0),
    "Asterix": (210.0, 8503.3),
    "Asteroids": (719.1, 47388.7),
    "Atlantis": (12850.0, 29028.1),
    "BankHeist": (14.2, 753.1),
    "BattleZone": (2360.0, 37187.5),
    "BeamRider": (363.9, 16926.5),
    "Berzerk": (123.7, 2630.4),
    "Bowling": (23.1, 160.7),
    "Boxing": (0.1, 12.1),
    "Breakout": (1.7, 30.5),
    "Centipede": (2090.9, 12017.0),
    "ChopperCommand": (811.0, 7387.8),
    "CrazyClimber": (10780.5, 35829.4),
    "Defender": (2874.5, 18688.9),
    "DemonAttack": (152.1, 1971.0),
    "DoubleDunk": (-18.6, -16.4),
    "Enduro": (0.0, 860.5),
    "FishingDerby": (-91.7, -38.7),
    "Freeway": (0.0, 29.6),
    "Frostbite": (65.2, 4334.7),
    "Gopher": (257.6, 2412.5),
    "Gravitar": (173.0, 3351.4),
    "Hero": (1027.0, 30826.4),
    "IceHockey": (-11.2, 0.9),
    "Jamesbond": (29.0, 302.8),
    "Kangaroo": (52.0, 3035.0),
    "Krull": (1598.0, 2665.5),
    "KungFuMaster": (258.5, 22736.3),
    "MontezumaRevenge": (0.0, 4753.3),
    "MsPacman": (307.3, 6951.6),
    "NameThisGame": (2292.3, 8049.0),
    "Phoenix": (761.4, 7242.6),
    "Pitfall": (-229.4, 6463.7),
    "Pong": (-20.7, 14.6),
    "PrivateEye": (24.9, 69571.3),
    "Qbert": (163.9, 13455.0),
    "Riverraid": (1338.5, 17118.0),
    "RoadRunner": (11.5, 7845.0),
    "Robotank": (2.2, 11.9),
    "Seaquest": (68.4, 42054.7),
    "Skiing": (-17098.1, -4336.9),
    "Solaris": (1236.3, 12326.7),
    "SpaceInvaders": (148.0, 1668.7),
    "StarGunner": (664.0, 10250.0),
    "Surround": (-10.0, 6.5),
    "Tennis": (-23.8, -8.3),
    "TimePilot": (3568.0, 5229.2),
    "Tutankham": (11.4, 167.6),
    "UpNDown": (533.4, 11693.2),
    "Venture": (0.0, 1187.5),
    "VideoPinball": (16256.9, 17667.9),
    "WizardOfWor": (563.5, 4756.5),
    "YarsRevenge": (3092.9, 54576.9),
    "Zaxxon": (32.5, 9173.3),
}

# Scores of a policy without observations and the best possible: Cobbe et al. 2020 (https://arxiv.org/abs/1912.01588),
# Appendix C: easy, then hard.
PROCGEN = {
    "coinrun": ((5.0, 10.0), (5.0, 10.0)),
    "starpilot": ((2.5, 64.0), (1.5, 35.0)),
    "caveflyer": ((3.5, 12.0), (2.0, 13.4)),
    "dodgeball": ((1.5, 19.0), (1.5, 19.0)),
    "fruitbot": ((-1.5, 32.4), (-0.5, 27.2)),
    "chaser": ((0.5, 13.0), (0.5, 14.2)),
    "miner": ((1.5, 13.0), (1.5, 20.0)),
    "jumper": ((3.0, 10.0), (1.0, 10.0)),
    "leaper": ((3.0, 10.0), (1.5, 10.0)),
    "maze": ((5.0, 10.0), (4.0, 10.0)),
    "bigfish": ((1.0, 40.0), (0.0, 40.0)),
    "heist": ((3.5, 10.0), (2.0, 10.0)),
    "climber": ((2.0, 12.6), (1.0, 12.6)),
    "plunder": ((4.5, 30.0), (3.0, 30.0)),
    "ninja": ((3.5, 10.0), (2.0, 10.0)),
    "bossfight": ((0.5, 13.0), (0.5, 13.0)),
}


def reference(env: str, mode: str = "easy") -> tuple[tuple[float, float], str] | None:
    """The raw scores that count as 0 and 1, and who says so.

    :param env: id, such as ``ALE/Pong-v5``, ``PongNoFrameskip-v4`` or ``procgen/coinrun``
    :param mode: of Procgen's levels
    """
    game = env.removeprefix("ALE/").rpartition("-v")[0].removesuffix("NoFrameskip").removesuffix("Deterministic")
    if game in ATARI and (env.startswith("ALE/") or "NoFrameskip" in env or "Deterministic" in env):
        return ATARI[game], "random and human players of Atari (Wang et al. 2016)"
    game = env.removeprefix("procgen/")
    if env.startswith("procgen/") and game in PROCGEN and mode in ("easy", "hard"):
        return PROCGEN[game][mode == "hard"], "Procgen's own constants (Cobbe et al. 2020)"
    if env.startswith(("MiniGrid-", "BabyAI-")):
        return (0.0, 1.0), "MiniGrid's range of returns"
    return None
