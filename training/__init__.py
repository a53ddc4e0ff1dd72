"""Train `builtin:tiny`, the model in nodes/sd/tiny, from nothing, on pictures drawn here.

No part of Darkroom imports this package, and it imports no part of Darkroom. From the floor upwards:

    scenes                           what can be in a picture
    landscapes, things, drawing      scene to pixels            captions, tokenizer    scene to words to tokens
    pictures, loop, heap             the data on disk, the loop of all lessons, memory kept between steps
    vae, text, denoiser              the three networks and their lessons
    export, score, judge             the model folder           what it can draw, counted
    stages, __main__                 everything in order
    upscaler                         beside them: the net that enlarges what the model paints
"""
